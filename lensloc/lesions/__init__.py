"""Lesions: units switched off, frozen, scaled or driven, and put back after."""

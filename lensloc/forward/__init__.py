"""Texts through a model: batches, sites, capturing."""

"""Sets of units, what they are matched with, and where they came from."""

"""Pages that open offline: the explorer and the report."""

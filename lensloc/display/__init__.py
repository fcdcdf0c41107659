"""What is shown and written: markup, progress, files."""

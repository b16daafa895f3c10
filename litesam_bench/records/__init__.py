"""What is kept: journals of masks (a line per image), records of numbers (a file per run)."""

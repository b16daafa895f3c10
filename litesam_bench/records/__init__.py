"""What is kept: journals of masks (one line per image) and records of numbers (one file per run)."""

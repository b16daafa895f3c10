"""Tables: published numbers and records in, Markdown, CSV and LaTeX out. Pure functions of data."""

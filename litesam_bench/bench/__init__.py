"""Benchmarks of the harness itself: each prints what it measured as ratios."""

"""Metrics: pure functions from masks and scores to numbers. One file per metric.

Nothing here imports torch or the rest of the harness; every metric has a test against its official
reference.
"""

"""litesam-bench: one protocol for Segment-Anything models."""

__version__ = "0.1.0"

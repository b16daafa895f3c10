"""Boundary benchmark: edge maps against human boundaries, as ODS, OIS, AP and R50."""

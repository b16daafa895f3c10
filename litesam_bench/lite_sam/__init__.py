"""Lite-SAM (arXiv 2407.08965), written from the poster: LiteViT, AutoPPN and their assembly.

The authors published neither code nor weights. Every choice that the poster leaves open is marked
"Decision (ours)" in the docstring of the code that makes it.
"""

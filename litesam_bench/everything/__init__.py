"""Segment everything: samplers propose prompts, the generator turns them into masks.

`proposals.py` holds the nouns, `generator.py` the steps, one file per sampler the prompts.
"""

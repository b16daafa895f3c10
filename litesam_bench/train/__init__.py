"""Training Lite-SAM: recipes, SA-1B-format data, labels, losses, the loop, checkpoints.

The line of a step reads: shards -> example -> batch -> model -> losses -> optimiser -> checkpoint.
"""

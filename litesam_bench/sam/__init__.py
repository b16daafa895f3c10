"""What all descendants of Segment Anything share: geometry, prompt encoder, decoder, checkpoints.

Written from the published architecture; parameter names follow facebookresearch/segment-anything,
so that official checkpoints load strictly.
"""

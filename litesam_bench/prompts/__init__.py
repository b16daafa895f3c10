"""Prompt rules, one per file: ground-truth boxes, clicks on masks, a detector's boxes."""

"""Trained scenes Segmenter with ToMe, merged for good: 24 tokens in each of blocks 1 to 3; masks are handed back at the end.

The weights were not trained for it: ToMe needs no training.
"""

_base_ = "scenes_segmenter.py"

reduction = dict(tome=dict(r=[24, 24, 24], metric="k"))

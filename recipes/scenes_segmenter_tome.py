"""Trained scenes Segmenter with ToMe, 24 tokens in each of blocks 1 to 3; predicted slower in FP16.

Merged for good: masks are handed back at the end.

The weights were not trained for it: ToMe needs no training.

The kernel plan predicts that its dense model is faster on a Jetson AGX Orin in FP16 (docs/numbers.md): 256 tokens leave too
little to save. It ships because it is trained, so that accuracy can be measured on it in minutes.
"""

_base_ = "scenes_segmenter.py"

reduction = dict(tome=dict(r=[24, 24, 24], metric="k"))

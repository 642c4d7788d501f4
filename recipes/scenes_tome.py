"""Trained scenes SegViT with ToMe inside every block, unmerged after it (184 of 256 tokens, as many as scenes_cts.py).

The weights were not trained for it: ToMe needs no training.
"""

_base_ = "scenes_dense.py"

reduction = dict(tome=dict(r=72, dense=True))

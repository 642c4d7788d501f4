"""Trained scenes SegViT with DToP after block 4 alone (256, 128 tokens)."""

_base_ = "scenes_dense.py"

reduction = dict(dtop=dict(prune={4: 128}))

"""Trained scenes SegViT with DToP after blocks 3 and 4 (256, 152, 104 tokens)."""

_base_ = "scenes_dense.py"

reduction = dict(dtop=dict(prune={3: 104, 4: 48}))

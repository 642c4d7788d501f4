"""Trained scenes SegViT with CTS, then DToP after blocks 3 and 4 (184, 136, 112 of 256 tokens)."""

_base_ = "scenes_dense.py"

reduction = dict(cts=dict(num_shared=24, align_tokens=8), dtop=dict(prune={3: 48, 4: 24}))

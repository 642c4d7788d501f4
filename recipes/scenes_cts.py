"""Trained scenes SegViT with CTS: 24 of 64 windows share a token (184 of 256 tokens)."""

_base_ = "scenes_dense.py"

reduction = dict(cts=dict(num_shared=24, align_tokens=8))

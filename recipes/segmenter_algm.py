"""Segmenter ViT-Ti/16 with ALGM: 80 of 256 windows merge in block 1, 72 tokens in block 5 (713 left of 1025)."""

_base_ = "segmenter.py"

reduction = dict(algm=dict(windows=80, r=72))

"""Segmenter ViT-Ti/16 with CTS: 103 of 256 windows asked to share a token each (712 of 1024 tokens)."""

_base_ = "segmenter.py"

reduction = dict(cts=dict(num_shared=103, align_tokens=8))

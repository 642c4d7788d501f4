"""Segmenter ViT-Ti/16 with ToMe in blocks 1 to 8, merged to the end: 416 of 1025 tokens, masks handed back."""

_base_ = "segmenter.py"

reduction = dict(tome=dict(r=[52, 52, 52, 52, 52, 52, 52, 52]))

"""Segmenter ViT-Ti/16 with CTS: 103 of 256 windows asked to share a token each (712 of 1024 tokens); predicted slower in FP16.

The kernel plan predicts that the dense model is faster on a Jetson AGX Orin in FP16 (docs/numbers.md): heads and selection
cost more than the blocks of a model as small save. It ships because all that its ViT-B sibling does can be tried on it in
seconds.
"""

_base_ = "segmenter.py"

reduction = dict(cts=dict(num_shared=103, align_tokens=8))

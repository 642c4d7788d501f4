"""Trained scenes SegViT with ToMe in every block (184 of 256 tokens, as scenes_cts.py); predicted slower in FP16.

The weights were not trained for it: ToMe needs no training.

The kernel plan predicts that its dense model is faster on a Jetson AGX Orin in FP16 (docs/numbers.md): 256 tokens leave too
little to save. It ships because it is trained, so that accuracy can be measured on it in minutes.
"""

_base_ = "scenes_dense.py"

reduction = dict(tome=dict(r=72, dense=True))

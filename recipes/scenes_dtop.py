"""Trained scenes SegViT with DToP after blocks 3 and 4 (256, 152, 104 tokens); predicted slower in FP16.

The kernel plan predicts that its dense model is faster on a Jetson AGX Orin in FP16 (docs/numbers.md): 256 tokens leave too
little to save. It ships because it is trained, so that accuracy can be measured on it in minutes.
"""

_base_ = "scenes_dense.py"

reduction = dict(dtop=dict(prune={3: 104, 4: 48}))

"""SegViT with ViT-Ti/16, DToP after block 8 alone (1024, 560 tokens); predicted slower in FP16.

DToP with one auxiliary head: that of block 6 emits no nodes.

The kernel plan predicts that the dense model is faster on a Jetson AGX Orin in FP16 (docs/numbers.md): heads and selection
cost more than the blocks of a model as small save. It ships because all that its ViT-B sibling does can be tried on it in
seconds.
"""

_base_ = "segvit_ti.py"

reduction = dict(dtop=dict(prune={8: 464}))

"""SegViT with ViT-Ti/16, DToP after block 8 alone (1024, 560 tokens).

DToP with one auxiliary head: that of block 6 emits no nodes.
"""

_base_ = "segvit_ti.py"

reduction = dict(dtop=dict(prune={8: 464}))

"""SegViT with ViT-B/16, CTS, then DToP after block 8 alone (712, 536 tokens).

Both methods with one auxiliary head: that of block 6 emits no nodes.
"""

_base_ = "segvit.py"

reduction = dict(cts=dict(num_shared=103, align_tokens=8), dtop=dict(prune={8: 176}))

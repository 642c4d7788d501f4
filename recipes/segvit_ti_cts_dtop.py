"""SegViT with ViT-Ti/16, CTS, then DToP after blocks 6 and 8 (712, 456, 248 tokens).

Both methods: what CTS leaves enters block 1, and DToP prunes from that.
"""

_base_ = "segvit_ti.py"

reduction = dict(cts=dict(num_shared=103, align_tokens=8), dtop=dict(prune={6: 256, 8: 208}))

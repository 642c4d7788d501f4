"""SegViT with ViT-B/16, DToP after blocks 6 and 8 (1024, 568, 472 tokens).

DToP alone, with both auxiliary heads.
"""

_base_ = "segvit.py"

reduction = dict(dtop=dict(prune={6: 456, 8: 96}))

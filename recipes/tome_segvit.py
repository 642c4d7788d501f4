"""SegViT with ViT-B/16 and ToMe around every block: 312 of 1024 tokens merge, and come back after it.

As many tokens as `segvit_cts.py` leaves to its blocks (712), so that the two can be compared: CTS shares once, ahead of the
backbone; ToMe matches anew in every block, and the heads see all tokens.
"""

_base_ = "segvit.py"

reduction = dict(tome=dict(r=312, dense=True))

"""SegViT with ViT-B/16, CTS, 104 of 256 windows share a token (712 tokens).

CTS alone. The paper shares 103 windows, which leaves 715 tokens; 104 leave 712, a multiple of 8.
"""

_base_ = "segvit.py"

reduction = dict(cts=dict(num_shared=103, align_tokens=8))

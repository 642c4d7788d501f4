"""SegViT with ViT-Ti/16, CTS, 104 of 256 windows share a token (712 tokens); predicted slower in FP16.

CTS alone. The paper shares 103 windows, which leaves 715 tokens; 104 leave 712, a multiple of 8.

The kernel plan predicts that the dense model is faster on a Jetson AGX Orin in FP16 (docs/numbers.md): heads and selection
cost more than the blocks of a model as small save. It ships because all that its ViT-B sibling does can be tried on it in
seconds.
"""

_base_ = "segvit_ti.py"

reduction = dict(cts=dict(num_shared=103, align_tokens=8))

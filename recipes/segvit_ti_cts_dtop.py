"""SegViT with ViT-Ti/16, CTS, then DToP after blocks 6 and 8 (712, 456, 248 tokens); for trials: predicted slower in FP16.

Both methods: what CTS leaves enters block 1, and DToP prunes from that. On a Jetson AGX Orin in FP16 the kernel plan predicts
that the dense model is faster in every power mode, for policy network and heads cost more than the blocks save; in FP32 the
reduced one. It ships because it is small: everything that the ViT-B hybrid does can be tried on it in seconds.
"""

_base_ = "segvit_ti.py"

reduction = dict(cts=dict(num_shared=103, align_tokens=8), dtop=dict(prune={6: 256, 8: 208}))

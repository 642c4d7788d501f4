"""DeiT-S/16 with DSM, 224x224: from block 3 on 13 tokens merge, first inside windows of 7x7; predicted slower in FP16.

Delay (a sixth of the blocks) and windows (growing by one a block) are the paper's; `edgeexport calibrate --delay` proposes
a delay for other weights.

The kernel plan predicts that the dense model is faster on a Jetson AGX Orin in FP16 (docs/numbers.md): 197 tokens leave too
little to save. It ships because the method's paper measures this model, and as the smallest that is in use.
"""

model = dict(type="timm", name="deit_small_patch16_224")
input = dict(
    shape=(1, 3, 224, 224),
    preprocess=dict(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375), bgr_to_rgb=False),
)
output = "logits"
classes = "imagenet"
reduction = dict(dsm=dict(r=13, delay=2, window=7, growth=1))

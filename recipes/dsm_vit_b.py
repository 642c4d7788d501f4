"""ViT-B/16 with DSM, 224x224: from block 3 on 13 tokens merge, first inside windows of 7x7.

Delay (a sixth of the blocks) and windows (growing by one a block) are the paper's; `edgeexport calibrate --delay` proposes
a delay for other weights. The host is that of `tome_vit_b.py`.
"""

model = dict(type="timm", name="vit_base_patch16_224")
input = dict(
    shape=(1, 3, 224, 224),
    preprocess=dict(mean=(127.5, 127.5, 127.5), std=(127.5, 127.5, 127.5), bgr_to_rgb=False),
)
output = "logits"
classes = "imagenet"
reduction = dict(dsm=dict(r=13, delay=2, window=7, growth=1))

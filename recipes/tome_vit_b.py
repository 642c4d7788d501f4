"""ViT-B/16 with ToMe, 224x224: 13 of 197 tokens merge in every block, 41 remain.

timm's `vit_base_patch16_224` as AugReg trained it, at r = 13, the amount that the benchmark runs. Pixels are scaled to
-1..1, as that training did. ``checkpoint`` takes timm's own file, .pth or .safetensors; without it weights are seeded.
"""

model = dict(type="timm", name="vit_base_patch16_224")
input = dict(
    shape=(1, 3, 224, 224),
    preprocess=dict(mean=(127.5, 127.5, 127.5), std=(127.5, 127.5, 127.5), bgr_to_rgb=False),
)
output = "logits"
classes = "imagenet"
reduction = dict(tome=dict(r=13))

"""DeiT-Ti/16 with ToMe, 224x224: 13 of 197 tokens merge in every block, 41 remain.

``checkpoint`` takes timm's own file, .pth or .safetensors; without it weights are seeded.
"""

model = dict(type="timm", name="deit_tiny_patch16_224")
input = dict(
    shape=(1, 3, 224, 224),
    preprocess=dict(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375), bgr_to_rgb=False),
)
output = "logits"
classes = "imagenet"
reduction = dict(tome=dict(r=13))

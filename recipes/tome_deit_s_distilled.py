"""DeiT-S/16 with a distillation token and ToMe, 224x224: 13 of 198 tokens merge in every block, 42 remain.

Neither the class nor the distillation token merges; the logits are the mean of the two heads', as in DeiT's inference.
"""

model = dict(type="timm", name="deit_small_distilled_patch16_224")
input = dict(
    shape=(1, 3, 224, 224),
    preprocess=dict(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375), bgr_to_rgb=False),
)
output = "logits"
classes = "imagenet"
reduction = dict(tome=dict(r=13))

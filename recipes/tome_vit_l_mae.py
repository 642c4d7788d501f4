"""ViT-L/16 in MAE's form with ToMe, 224x224: 8 of 197 tokens merge in every block, averaged by their size.

MAE fine-tunes without the class token's prediction: tokens are averaged, each weighted by the patches it stands for, and
attention is not proportional, as ToMe's authors run MAE weights. The class token stays in the sequence and never merges.
The last block merges the 6 tokens that it can.
"""

model = dict(type="timm", name="vit_large_patch16_224", global_pool="avg")
input = dict(
    shape=(1, 3, 224, 224),
    preprocess=dict(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375), bgr_to_rgb=False),
)
output = "logits"
classes = "imagenet"
reduction = dict(tome=dict(r=8, proportional_attention=False, pool="size_weighted"))

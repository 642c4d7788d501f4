"""SegViT with ViT-Ti/16, 512x512, 150 classes: dense, every token through every block.

The dense model of the family: every other recipe with this model changes ``reduction`` alone, so that dense against
reduced is a fair comparison. The auxiliary heads after blocks 6 and 8 run only where a recipe prunes there.
"""

_num_classes = 150
_width = 192


def _head(**stage):
    """An attention-to-mask head on one backbone output."""
    return dict(
        type="PruneHead",
        img_size=512,
        in_channels=_width,
        channels=192,
        num_classes=_num_classes,
        layers_per_decoder=3,
        num_heads=3,
        **stage,
    )


model = dict(
    type="EncoderDecoderPrune",
    backbone=dict(
        type="ViT_prune",
        img_size=(512, 512),
        patch_size=16,
        embed_dims=_width,
        num_layers=12,
        num_heads=3,
        out_indices=[5, 7, 11],
        norm_cfg=dict(type="LN", eps=1e-6),
        with_cls_token=False,
        num_classes=_num_classes,
    ),
    decode_head=_head(thresh=1.0),
    auxiliary_head=[_head(in_index=0, thresh=0.9), _head(in_index=1, thresh=0.9)],
    test_cfg=dict(mode="whole"),
)

input = dict(
    shape=(1, 3, 512, 512),
    preprocess=dict(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375), bgr_to_rgb=True),
)
output = "class_map"
reduction = dict()
classes = "ade20k"
palette = "ade20k"

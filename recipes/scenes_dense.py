"""Small trained SegViT for the drawn scenes of `examples/scenes`, 256x256, 13 classes: dense, every token everywhere.

The dense model of the family: every other scenes recipe changes ``reduction`` alone. Its weights were trained by
`python -m examples.scenes.train`, with and without token reduction, so all recipes share one checkpoint.
"""

_num_classes = 13
_width = 192


def _head(**stage):
    """An attention-to-mask head on one backbone output."""
    return dict(
        type="PruneHead",
        img_size=256,
        in_channels=_width,
        channels=96,
        num_classes=_num_classes,
        layers_per_decoder=2,
        num_heads=3,
        **stage,
    )


model = dict(
    type="EncoderDecoderPrune",
    backbone=dict(
        type="ViT_prune",
        img_size=(256, 256),
        patch_size=16,
        embed_dims=_width,
        num_layers=6,
        num_heads=3,
        out_indices=[2, 3, 5],
        norm_cfg=dict(type="LN", eps=1e-6),
        with_cls_token=False,
        num_classes=_num_classes,
    ),
    decode_head=_head(thresh=1.0),
    # At these the adaptive hybrid prunes as many validation tokens on average as scenes_cts_dtop.py does of each image.
    auxiliary_head=[_head(in_index=0, thresh=0.93), _head(in_index=1, thresh=0.86)],
    test_cfg=dict(mode="whole"),
)
checkpoint = "scenes.safetensors"

input = dict(
    shape=(1, 3, 256, 256),
    preprocess=dict(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375), bgr_to_rgb=True),
)
output = "class_map"
pictures = []  # trained on drawn scenes: what it makes of a photograph tells nothing
reduction = dict()
classes = [
    "road",
    "sidewalk",
    "building",
    "wall",
    "grass",
    "tree",
    "hill",
    "sky",
    "person",
    "car",
    "bus",
    "truck",
    "sign",
]
palette = [
    [112, 64, 128],
    [232, 88, 208],
    [96, 96, 104],
    [168, 152, 120],
    [152, 240, 120],
    [40, 112, 48],
    [160, 104, 40],
    [96, 168, 232],
    [216, 24, 56],
    [16, 32, 168],
    [0, 152, 152],
    [240, 144, 16],
    [248, 232, 16],
]

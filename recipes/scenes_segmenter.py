"""Small trained Segmenter for the drawn scenes of `examples/scenes`, 256x256, 13 classes: dense, every token everywhere.

The sibling of scenes_dense.py: its encoder began as that model's, its decoder is a mask transformer. Trained by
`python -m examples.scenes.train_segmenter`, with and without shared tokens, so that all its recipes share one checkpoint.
"""

_base_ = "scenes_dense.py"

_width = 192

model = dict(
    _delete_=True,
    type="EncoderDecoder",
    backbone=dict(
        type="VisionTransformer",
        img_size=(256, 256),
        patch_size=16,
        embed_dims=_width,
        num_layers=6,
        num_heads=3,
        final_norm=True,
        patch_bias=True,
        norm_cfg=dict(type="LN", eps=1e-6),
        with_cls_token=True,
    ),
    decode_head=dict(
        type="SegmenterMaskTransformerHead",
        in_channels=_width,
        channels=_width,
        num_classes=13,
        num_layers=2,
        num_heads=3,
        embed_dims=96,
    ),
    test_cfg=dict(mode="whole"),
)
checkpoint = "scenes_segmenter.safetensors"
reduction = dict()

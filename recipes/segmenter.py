"""Segmenter ViT-Ti/16 with a mask transformer, 512x512, ADE20K's 150 classes, dense: as mmsegmentation's config has it.

Without a checkpoint its weights are drawn from a seed. For your own: --checkpoint, of mmsegmentation or of the published code
(of the latter with model.backbone.patch_bias=True and model.backbone.norm_cfg.eps=1e-5).
"""

_width = 192

model = dict(
    type="EncoderDecoder",
    backbone=dict(
        type="VisionTransformer",
        img_size=(512, 512),
        patch_size=16,
        in_channels=3,
        embed_dims=_width,
        num_layers=12,
        num_heads=3,
        final_norm=True,
        norm_cfg=dict(type="LN", eps=1e-6, requires_grad=True),
        with_cls_token=True,
        interpolate_mode="bicubic",
    ),
    decode_head=dict(
        type="SegmenterMaskTransformerHead",
        in_channels=_width,
        channels=_width,
        num_classes=150,
        num_layers=2,
        num_heads=3,
        embed_dims=_width,
    ),
    test_cfg=dict(mode="whole"),
)
checkpoint = None

input = dict(
    shape=(1, 3, 512, 512),
    preprocess=dict(mean=(127.5, 127.5, 127.5), std=(127.5, 127.5, 127.5), bgr_to_rgb=True),
)
output = "class_map"
reduction = dict()
classes = "ade20k"

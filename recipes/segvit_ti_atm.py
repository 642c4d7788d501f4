"""SegViT with ViT-Ti/16 and its original three-stage ATMHead, dense.

The head sums the masks of three backbone outputs and resizes mask logits, not scores: its tail runs at full resolution,
another computation than that of the other recipes. No ViT-Ti configuration was published; the head is as wide as the
PruneHead of `segvit_ti.py`.
"""

_base_ = "segvit_ti.py"

_width = 192

model = dict(
    _delete_=True,
    type="EncoderDecoder",
    backbone=dict(
        type="VisionTransformer",
        img_size=(512, 512),
        patch_size=16,
        embed_dims=_width,
        num_layers=12,
        num_heads=3,
        out_indices=[5, 7, 11],
        norm_cfg=dict(type="LN", eps=1e-6),
        with_cls_token=False,
    ),
    decode_head=dict(
        type="ATMHead",
        img_size=512,
        in_channels=_width,
        channels=_width,
        embed_dims=192,
        num_classes=150,
        num_layers=3,
        num_heads=3,
        use_stages=3,
    ),
    test_cfg=dict(mode="whole"),
)

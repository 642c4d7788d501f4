"""ViT-B/16 on spectrograms with ToMe, 1024x128: 40 of 513 tokens merge in every block.

The audio model of ToMe's paper: 1024 time frames of 128 mel bands in one channel, hence 64x8 patches and a class token,
and the 527 classes of AudioSet. Spectrograms are float32, already normalised. The last block
merges the 36 tokens that it can.
"""

model = dict(
    type="timm",
    img_size=(1024, 128),
    patch_size=16,
    in_chans=1,
    embed_dim=768,
    depth=12,
    num_heads=12,
    num_classes=527,
)
input = dict(shape=(1, 1, 1024, 128))
output = "logits"
reduction = dict(tome=dict(r=40))

"""Space-time ViT-L/16 with ToMe, clips of 16 frames: 65 of 1569 tokens merge in every block.

The video model of ToMe's paper: patches of 2x16x16, hence 8x14x14 of them and a class token, and the 400 classes of
Kinetics. Clips are float32, already normalised. The last block merges the 36 tokens that it can.
"""

model = dict(
    type="timm",
    frames=16,
    tubelet=2,
    img_size=224,
    patch_size=16,
    embed_dim=1024,
    depth=24,
    num_heads=16,
    num_classes=400,
)
input = dict(shape=(1, 3, 16, 224, 224))
output = "logits"
reduction = dict(tome=dict(r=65))

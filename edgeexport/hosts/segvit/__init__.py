"""SegViT: mmsegmentation's plain ViT with attention-to-mask heads."""

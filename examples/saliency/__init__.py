"""A real trained model that anyone can fetch: DINOv2 ViT-S/14 with a saliency decoder; and photographs. None is committed."""

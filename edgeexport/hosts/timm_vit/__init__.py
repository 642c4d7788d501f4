"""timm's plain Vision Transformers."""

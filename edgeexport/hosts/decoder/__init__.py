"""Language models as decoders, text only (Llama, Qwen2) or with images (Qwen2.5-VL)."""

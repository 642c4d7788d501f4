"""A small multimodal decoder, trained on finding things in its prompt: what a cache's budget costs in answers."""

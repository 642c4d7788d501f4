"""What families of segmenters share: the plain Vision Transformer of mmsegmentation, its config, input, tail and test mode."""

"""Segmenter: a plain Vision Transformer beneath a linear decoder or a mask transformer, from mmsegmentation's configs."""

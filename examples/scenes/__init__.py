"""A labelled data set that the project makes itself: seeded street-like scenes, and a small segmenter trained on them.

The generator (everything but ``train``) needs numpy, Pillow, typer and rich only; it does not import edgeexport.
"""

"""Predictions and tokens as pictures: overlays, label maps, merged regions. Runs without torch."""

"""Recipes as files: finding, reading and merging mmengine Python configs, and typed reading of their values."""

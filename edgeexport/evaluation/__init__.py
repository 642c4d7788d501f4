"""Accuracy on labelled images: a recipe's or a bundle's model, in every execution in reach, by mmsegmentation's metric.

Import from the modules: `edgeexport.evaluation.evaluate` does what the command does, `folder_layout` and `dataset` read a
user's folder, `areas` is the metric. This package itself imports nothing, so that the command line starts without torch.
"""

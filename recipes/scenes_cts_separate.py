"""Trained scenes SegViT with CTS, its policy network a graph of its own; predicted slower in FP16.

For a DLA, or every n-th frame of a video. It ships to show that; with the policy network on every image
it costs what scenes_cts.py costs, more than scenes_dense.py.
"""

_base_ = "scenes_cts.py"

reduction = dict(cts=dict(policy="separate"))

"""Trained scenes Segmenter with ALGM: 21 of 64 windows, then 45 tokens (148 of 256 left); predicted slower in FP16.

Windows merge in block 1, tokens in block 3.

The weights were not trained for it. The counts are those that half of 30 validation scenes reach as published (`edgeexport
calibrate scenes_segmenter_algm.py --data work_dirs/scenes --split val --limit 30`).

The kernel plan predicts that its dense model is faster on a Jetson AGX Orin in FP16 (docs/numbers.md): 256 tokens leave too
little to save. It ships because it is trained, so that accuracy can be measured on it in minutes.
"""

_base_ = "scenes_segmenter.py"

reduction = dict(algm=dict(windows=21, r=45, blocks=(1, 3)))

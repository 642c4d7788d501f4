"""Trained scenes Segmenter with ALGM: 21 of 64 windows merge in block 1, 45 tokens in block 3 (148 of 256 left).

The weights were not trained for it. The counts are those that half of 30 validation scenes reach as published (`edgeexport
calibrate scenes_segmenter_algm.py --data work_dirs/scenes --split val --limit 30`).
"""

_base_ = "scenes_segmenter.py"

reduction = dict(algm=dict(windows=21, r=45, blocks=(1, 3)))

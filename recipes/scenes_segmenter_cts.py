"""Trained scenes Segmenter with CTS: 24 of 64 windows share a token (184 of 256 tokens); the policy network is SegViT's."""

_base_ = "scenes_segmenter.py"

reduction = dict(cts=dict(num_shared=24, align_tokens=8, policy_checkpoint="scenes.safetensors"))

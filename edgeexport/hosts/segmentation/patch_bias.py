"""The bias of mmsegmentation's patch embedding: its versions differ in it, and a checkpoint tells which it is from."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from edgeexport.hosts.checkpoint import unwrapped

__all__ = ["state_with_patch_bias"]

_PROJECTION = "backbone.patch_embed.projection"


def state_with_patch_bias(model: nn.Module, state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """Fits the model to a checkpoint with the bias, or the checkpoint to a model with it: the bias is then zero.

    mmsegmentation 0.x, which most published weights are from, and DToP's code have the bias; 1.x's `VisionTransformer` has
    none unless asked for.

    Args:
        model: In mmsegmentation's key names; its convolution gets a bias where only the checkpoint has one.
        state: Key -> tensor.

    Returns:
        The state, and what was done for people; empty where they agree, or where the checkpoint has no such embedding.
    """
    convolution = model.get_submodule(_PROJECTION)
    assert isinstance(convolution, nn.Conv2d)
    given = unwrapped(state, model.state_dict().keys())
    if f"{_PROJECTION}.weight" not in given:
        return dict(state), ""
    bias = given.get(f"{_PROJECTION}.bias")
    channels = convolution.out_channels
    if bias is not None and convolution.bias is None and tuple(bias.shape) == (channels,):
        convolution.bias = nn.Parameter(torch.zeros(channels), requires_grad=convolution.weight.requires_grad)
        return dict(state), "the patch embedding has a bias, as there"
    if bias is None and convolution.bias is not None:
        return {
            **given,
            f"{_PROJECTION}.bias": torch.zeros(channels),
        }, "the patch embedding's bias is zero: there is none there"
    return dict(state), ""

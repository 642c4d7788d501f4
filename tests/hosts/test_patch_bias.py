"""Checkpoints with and without the patch embedding's bias fit either model, and predict as the weights say."""

from __future__ import annotations

import torch
from small_models import small_spec

from edgeexport.hosts.checkpoint import load_weights
from edgeexport.hosts.segmentation.patch_bias import state_with_patch_bias
from edgeexport.hosts.segvit.seeded import seed_weights
from edgeexport.hosts.segvit.segvit import SegVit

_BIAS = "backbone.patch_embed.projection.bias"


def _model(bias: bool) -> SegVit:
    model = SegVit(small_spec(patch_bias=bias)).eval()
    seed_weights(model, 0)
    return model


def test_a_bias_that_the_checkpoint_has_is_loaded():
    state = _model(True).state_dict()
    state[_BIAS] = torch.arange(32.0)
    plain = _model(False)
    fitting, said = state_with_patch_bias(plain, {f"module.{key}": value for key, value in state.items()})
    load_weights(plain, fitting, "w.pth")
    assert torch.equal(plain.state_dict()[_BIAS], torch.arange(32.0)) and "has a bias" in said


def test_a_bias_that_the_checkpoint_lacks_is_zero():
    model = _model(True)
    state = _model(False).state_dict()
    fitting, said = state_with_patch_bias(model, state)
    load_weights(model, fitting, "w.pth")
    assert model.state_dict()[_BIAS].abs().sum() == 0 and "is zero" in said


def test_nothing_is_done_where_they_agree_or_another_model_is_meant():
    for bias in (True, False):
        assert state_with_patch_bias(_model(bias), _model(bias).state_dict())[1] == ""
    assert state_with_patch_bias(_model(True), {"blocks.0.norm.weight": torch.ones(3)})[1] == ""

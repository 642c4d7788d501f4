"""TokenProtectSelect: torch reference == brute force in Python == the functions that it is made of, in ONNX Runtime."""

from __future__ import annotations

import onnx
import pytest
import torch
from hypothesis import given, settings
from onnx import TensorProto
from op_models import assert_static_standard_graph, one_node_model, run_model
from select_cases import Stage, brute_force, random_stage, stages
from torch import Tensor

from edgeexport.ops import token_partition, token_protect, token_unmerge
from edgeexport.ops.token_protect_select import ATTRIBUTES, onnx_function, token_protect_select_reference
from edgeexport.reductions.dtop_selection import confidence_and_label, prune_fixed


def reference(stage: Stage) -> tuple[Tensor, ...]:
    return token_protect_select_reference(*stage.tensors.values(), stage.k, stage.per_class)


def model_for(stage: Stage) -> onnx.ModelProto:
    batch, classes, tokens = stage.scores.shape
    shapes = {
        "x_kept": (TensorProto.FLOAT, (batch, tokens - stage.k, stage.x.shape[2])),
        "rows_left": (TensorProto.FLOAT, (batch, stage.k, stage.rows.shape[2])),
        "alive_kept": (TensorProto.INT32, (batch, tokens - stage.k, 1)),
        "alive_left": (TensorProto.INT32, (batch, stage.k, 1)),
    }
    attributes: dict[str, int | list[int]] = {"k": stage.k, "per_class": min(stage.per_class, tokens)}
    bodies = [op.onnx_function() for op in (token_protect, token_partition, token_unmerge)]
    return one_node_model(onnx_function(classes), stage.tensors, shapes, attributes, further=bodies)


def assert_same(found: tuple[Tensor, ...] | list[Tensor], expected: tuple[Tensor, ...]) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == theirs.dtype and torch.equal(ours, theirs)


@settings(deadline=None, max_examples=60)
@given(stages())
def test_reference_equals_brute_force_equals_function(stage: Stage) -> None:
    expected = brute_force(stage)
    assert_same(reference(stage), expected)
    assert_same(run_model(model_for(stage), stage.tensors), expected)


@pytest.mark.parametrize("levels", [1, 3, 10**6])
def test_is_the_stage_that_dtop_exports(levels: int) -> None:
    """The same parts as the fixed form's own functions choose, at a real size."""
    stage = random_stage(2, 20, 300, 120, 5, levels=levels)
    kept, pruned, _ = prune_fixed(*confidence_and_label(stage.scores), stage.k, 20, stage.per_class)
    found = reference(stage)
    for values, index, ours in ((stage.x, kept, found[0]), (stage.rows, pruned, found[1])):
        assert torch.equal(ours, torch.stack([row[at.long()] for row, at in zip(values, index, strict=True)]))


def test_all_equal_keeps_the_first_as_protected_and_lets_the_next_go() -> None:
    stage = Stage(torch.full((1, 3, 6), 0.5), *_numbered(6), k=3, per_class=2)
    assert reference(stage)[2].flatten().tolist() == [0, 1, 5]
    assert_same(run_model(model_for(stage), stage.tensors), reference(stage))


def test_confidences_that_protection_makes_equal_go_by_index() -> None:
    """1 - 2 and (1 - 2^-24) - 2 are one float32: with all tokens protected the lower index leaves first."""
    stage = Stage(torch.tensor([[[1 - 2**-24, 1.0]]]), *_numbered(2), k=1, per_class=2)
    assert reference(stage)[3].flatten().tolist() == [0]
    assert_same(run_model(model_for(stage), stage.tensors), reference(stage))


def test_images_of_a_batch_choose_for_themselves() -> None:
    stage = random_stage(3, 4, 30, 11, 2, seed=5)
    found = reference(stage)
    for image in range(3):
        one = [tensor[image : image + 1] for tensor in stage.tensors.values()]
        alone = token_protect_select_reference(*one, stage.k, stage.per_class)
        assert_same([part[image : image + 1] for part in found], alone)
    assert not torch.equal(found[3][0], found[3][1])


def test_inlined_function_is_static() -> None:
    stage = random_stage(2, 6, 20, 7, 3)
    plain = assert_static_standard_graph(model_for(stage))
    assert_same(run_model(plain, stage.tensors), reference(stage))
    assert set(ATTRIBUTES) == set(onnx_function(6).attribute) == {"k", "per_class"}


def _numbered(tokens: int) -> tuple[Tensor, Tensor, Tensor]:
    numbers = torch.arange(tokens)[None, :, None]
    return numbers.float(), -numbers.float(), numbers.to(torch.int32)

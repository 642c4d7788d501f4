"""TokenProtectSelect on the CPU: from the definition, and by the kernels' own blocks, against torch and the op's functions."""

from __future__ import annotations

import ctypes
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from select_cases import Stage, random_stage, stages
from torch import Tensor

from edgeexport.ops.token_protect_select import LARGEST_TOKENS, token_protect_select_reference

NULL_POINTER, BAD_SIZE, BAD_TYPE = 1, 2, 3  # common/status.h
KINDS = {torch.float32: 0, torch.float16: 1}
NUMBERS = ("batch", "classes", "tokens", "width", "row_width", "k", "per_class")
TENSORS = ("scores", "x", "rows", "alive", "x_kept", "rows_left", "alive_kept", "alive_left", "workspace")
Form = tuple[int, int, bool] | None
"""None: the definition. Else blocks that share the rows, threads of each, and whether they take turns backward."""
FORMS: tuple[Form, ...] = (None, (1, 1024, True), (2, 1024, False), (3, 32, True))


class Sizes(ctypes.Structure):
    """ProtectSelectSizes of protect_select_sizes.h."""

    _fields_ = tuple((name, ctypes.c_int32) for name in NUMBERS)


class Addresses(ctypes.Structure):
    """ProtectSelectAddresses of select_tensors.h."""

    _fields_ = tuple((name, ctypes.c_void_p) for name in TENSORS)


def call(library: ctypes.CDLL, tensors: Addresses, sizes: Sizes, kind: int, form: Form) -> int:
    name = "edgeexport_cpu_token_protect_select" + ("_kernel" if form else "")
    return int(getattr(library, name)(ctypes.byref(tensors), ctypes.byref(sizes), kind, *map(int, form or ())))


def prepared(stage: Stage) -> tuple[Addresses, Sizes, dict[str, Tensor]]:
    batch, classes, tokens = stage.scores.shape
    width, row_width = stage.x.shape[2], stage.rows.shape[2]
    held = {name: tensor.contiguous() for name, tensor in stage.tensors.items()} | {
        "x_kept": torch.full((batch, tokens - stage.k, width), -7, dtype=stage.x.dtype),
        "rows_left": torch.full((batch, stage.k, row_width), -7, dtype=stage.rows.dtype),
        "alive_kept": torch.full((batch, tokens - stage.k, 1), -7, dtype=torch.int32),
        "alive_left": torch.full((batch, stage.k, 1), -7, dtype=torch.int32),
        "workspace": torch.full((batch, tokens), -1, dtype=torch.int64),
    }
    sizes = Sizes(batch, classes, tokens, width, row_width, stage.k, stage.per_class)
    return Addresses(*(held[name].data_ptr() for name in TENSORS)), sizes, held


def run(library: ctypes.CDLL, stage: Stage, form: Form) -> list[Tensor]:
    tensors, sizes, held = prepared(stage)
    assert call(library, tensors, sizes, KINDS[stage.x.dtype], form) == 0
    return [held[name] for name in TENSORS[4:8]]


def assert_right(library: ctypes.CDLL, stage: Stage, form: Form) -> None:
    expected = token_protect_select_reference(*stage.tensors.values(), stage.k, stage.per_class)
    for ours, theirs in zip(run(library, stage, form), expected, strict=True):
        assert torch.equal(ours, theirs)


@settings(deadline=None, max_examples=50)
@given(stages(), st.integers(1, 5), st.sampled_from([32, 64, 1024]), st.booleans())
def test_definition_and_kernels_equal_the_reference(
    cpu_library: ctypes.CDLL, stage: Stage, parts: int, threads: int, backward: bool
) -> None:
    for form in (None, (parts, threads, backward)):
        assert_right(cpu_library, stage, form)
        assert_right(cpu_library, stage.half(), form)


@pytest.mark.parametrize("form", FORMS[:3], ids=str)
@pytest.mark.parametrize("levels", [4, 10**6])
@pytest.mark.parametrize(
    ("batch", "classes", "tokens", "k", "per_class", "width"),
    [
        (1, 150, 1024, 461, 5, 192),  # SegViT at 512 x 512
        (2, 150, 712, 256, 5, 33),  # behind CTS; rows of no whole pieces
        (1, 19, LARGEST_TOKENS, 1000, 64, 4),
        (1, 300, 1025, 1024, 5, 4),  # all but one leave, protected ones among them
    ],
)
def test_real_sizes(
    cpu_library: ctypes.CDLL,
    batch: int,
    classes: int,
    tokens: int,
    k: int,
    per_class: int,
    width: int,
    levels: int,
    form: Form,
) -> None:
    stage = random_stage(batch, classes, tokens, k, per_class, width=width, row_width=classes, levels=levels, seed=k)
    assert_right(cpu_library, stage, form)


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_classes_beyond_a_byte_and_a_sign_are_told_apart(cpu_library: ctypes.CDLL, form: Form) -> None:
    """One token to each of classes whose numbers differ in one bit: all are protected, so that they go by score."""
    classes = [0, 1, 255, 256, 32767, 32768, 65534]
    scores = torch.zeros(1, 65535, len(classes))
    for token, klass in enumerate(classes):
        scores[0, klass, token] = 0.5 + token / 16
    x, alive = torch.arange(7.0)[None, :, None], torch.arange(7, dtype=torch.int32)[None, :, None]
    assert_right(cpu_library, Stage(scores, x, x, alive, 3, 1), form)


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_whatever_the_scores_hold_every_token_is_in_one_part(
    cpu_library: ctypes.CDLL, value: float, form: Form
) -> None:
    """TensorRT times plugins on memory with arbitrary content."""
    stage = random_stage(2, 6, 50, 20, 2, seed=1)
    stage.scores[0], stage.scores[1, ::2] = value, value
    stage.scores[1, 1, ::3] = -value
    kept, left = run(cpu_library, stage, form)[2:]
    for image in range(2):
        assert sorted([*kept[image].flatten().tolist(), *left[image].flatten().tolist()]) == sorted(
            stage.alive[image].flatten().tolist()
        )


GOOD = random_stage(1, 3, 6, 2, 1)


@pytest.mark.parametrize("form", [None, (1, 32, False)], ids=str)
@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("batch", -1),
        ("batch", 65536),
        ("classes", 0),
        ("classes", 65536),
        ("tokens", 1),
        ("tokens", LARGEST_TOKENS + 1),
        ("width", 0),
        ("row_width", 2**24 + 1),
        ("k", 0),
        ("k", 6),
        ("per_class", 0),
    ],
)
def test_bad_sizes_are_refused(cpu_library: ctypes.CDLL, name: str, number: int, form: Form) -> None:
    """Refused before anything is read or written."""
    tensors, sizes, held = prepared(GOOD)
    setattr(sizes, name, number)
    assert call(cpu_library, tensors, sizes, 0, form) == BAD_SIZE
    assert all((held[output] == -7).all() for output in TENSORS[4:8])


@pytest.mark.parametrize("form", [None, (1, 32, False)], ids=str)
def test_missing_tensors_and_other_types_are_refused(cpu_library: ctypes.CDLL, form: Form) -> None:
    for name in TENSORS:
        tensors, sizes, _held = prepared(GOOD)
        setattr(tensors, name, None)
        assert call(cpu_library, tensors, sizes, 0, form) == NULL_POINTER
    tensors, sizes, _held = prepared(GOOD)
    for kind in (3, 9):
        assert call(cpu_library, tensors, sizes, kind, form) == BAD_TYPE


@pytest.mark.parametrize("form", [(0, 32, False), (1, 31, False), (1, 2048, False), (1, 33, False), (65536, 32, False)])
def test_impossible_blocks_are_refused(cpu_library: ctypes.CDLL, form: Form) -> None:
    tensors, sizes, _held = prepared(replace(GOOD))
    assert call(cpu_library, tensors, sizes, 0, form) == BAD_SIZE

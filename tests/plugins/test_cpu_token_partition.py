"""TokenPartition on the CPU: by sorting, and by the kernel's own blocks, against torch and the op's ONNX function."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto
from op_models import one_node_model, run_model
from torch import Tensor

from edgeexport.ops.token_partition import onnx_function, token_partition_reference

Outcome = tuple[Tensor, Tensor]

STATUS = {"null pointer": 1, "size": 2, "type": 3, "attribute": 5}  # common/status.h
_UNWRITTEN = -7


def address(array: np.ndarray | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(None if array is None else array.ctypes.data)


def call(
    library: ctypes.CDLL,
    score: np.ndarray | None,
    numbers: tuple[int, int, int],
    outputs: tuple[np.ndarray | None, np.ndarray | None],
    kind: int = 0,
    kernel: tuple[int, bool] | None = None,
) -> int:
    """``numbers``: batch, tokens, k; ``kernel``: threads of the block and whether they take turns backward."""
    name = "edgeexport_cpu_token_partition" + ("_kernel" if kernel else "")
    arguments = [address(score), kind, *numbers, *map(address, outputs), *map(int, kernel or ())]
    return int(getattr(library, name)(*arguments))


def partition(library: ctypes.CDLL, score: Tensor, k: int, kernel: tuple[int, bool] | None = None) -> Outcome:
    batch, tokens = score.shape
    kept = np.full((batch, tokens - k), _UNWRITTEN, np.int32)
    taken = np.full((batch, k), _UNWRITTEN, np.int32)
    kind = {torch.float32: 0, torch.float16: 1}[score.dtype]
    assert call(library, score.contiguous().numpy(), (batch, tokens, k), (kept, taken), kind, kernel) == 0
    return torch.from_numpy(kept), torch.from_numpy(taken)


def assert_same(found: Outcome, expected: Outcome) -> None:
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])


@st.composite
def cases(draw: st.DrawFn) -> tuple[Tensor, int]:
    """Few levels, both zeros and both infinities among them, so that ties at the cut are the rule; or any number."""
    batch, tokens = draw(st.integers(1, 3)), draw(st.integers(1, 70))
    k = draw(st.integers(1, tokens) | st.sampled_from([1, tokens]))
    level = st.sampled_from([-1.5, -0.0, 0.0, 0.25, 0.5, float("inf"), float("-inf"), 1e-44, -1e-44])
    free = st.floats(width=32, allow_nan=False)
    kind = draw(st.sampled_from([level, free, st.just(draw(free))]))
    rows = draw(st.lists(st.lists(kind, min_size=tokens, max_size=tokens), min_size=batch, max_size=batch))
    return torch.tensor(rows, dtype=torch.float32), k


@settings(deadline=None, max_examples=150)
@given(cases(), st.integers(1, 130), st.booleans())
def test_sorting_and_kernel_equal_the_reference(
    cpu_library: ctypes.CDLL, case: tuple[Tensor, int], threads: int, backward: bool
) -> None:
    score, k = case
    expected = token_partition_reference(score, k)
    assert_same(partition(cpu_library, score, k), expected)
    assert_same(partition(cpu_library, score, k, (threads, backward)), expected)


@settings(deadline=None, max_examples=40)
@given(cases(), st.booleans())
def test_half_scores_are_compared_as_they_are(
    cpu_library: ctypes.CDLL, case: tuple[Tensor, int], backward: bool
) -> None:
    score, k = case[0].half(), case[1]
    expected = token_partition_reference(score.float(), k)
    assert_same(partition(cpu_library, score, k), expected)
    assert_same(partition(cpu_library, score, k, (64, backward)), expected)


@pytest.mark.parametrize(("tokens", "k"), [(19, 1), (19, 18), (19, 19), (715, 360), (1024, 360)])
@pytest.mark.parametrize("levels", [1, 3, 10**6])
def test_equals_the_onnx_function(cpu_library: ctypes.CDLL, tokens: int, k: int, levels: int) -> None:
    generator = torch.Generator().manual_seed(levels + k)
    score = torch.randint(levels, (2, tokens), generator=generator) / levels - 0.25
    outputs = {"kept": (TensorProto.INT32, (2, tokens - k)), "taken": (TensorProto.INT32, (2, k))}
    kept, taken = run_model(one_node_model(onnx_function(), {"score": score}, outputs, {"k": k}), {"score": score})
    assert_same(partition(cpu_library, score, k), (kept, taken))
    assert_same(partition(cpu_library, score, k, (1024, True)), (kept, taken))


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("k", [1, 3840, 5000, 16383, 16384])
@pytest.mark.parametrize("levels", [1, 7, 2**24])
def test_kernel_at_16384_tokens(cpu_library: ctypes.CDLL, k: int, levels: int, backward: bool) -> None:
    """Beyond TensorRT's own limit of 3840, and with stretches of several tokens per thread."""
    score = torch.randint(levels, (1, 16384), generator=torch.Generator().manual_seed(levels)) / levels
    assert_same(partition(cpu_library, score, k, (1024, backward)), token_partition_reference(score, k))


@pytest.mark.parametrize("bit", range(32))
def test_kernel_tells_scores_apart_by_any_bit(cpu_library: ctypes.CDLL, bit: int) -> None:
    """Two scores whose bit patterns differ in one place, in every digit of the radix selection."""
    base = np.array([0x3F55AA33, 0x3F55AA33 ^ (1 << bit)], np.uint32).view(np.float32)
    assert np.isfinite(base).all()
    score = torch.from_numpy(np.stack([base, base[::-1]]))
    for kernel in ((32, False), (1, False), (2, True)):
        assert_same(partition(cpu_library, score, 1, kernel), token_partition_reference(score, 1))


def test_all_equal_takes_the_lowest_indices(cpu_library: ctypes.CDLL) -> None:
    for kernel in (None, (32, False), (3, True)):
        kept, taken = partition(cpu_library, torch.full((2, 7), 0.3), 3, kernel)
        assert taken.tolist() == [[0, 1, 2]] * 2
        assert kept.tolist() == [[3, 4, 5, 6]] * 2


def test_images_of_a_batch_choose_for_themselves(cpu_library: ctypes.CDLL) -> None:
    score = torch.tensor([[0.9, 0.1, 0.8, 0.2], [0.1, 0.9, 0.2, 0.8], [0.0, -0.0, 0.1, 0.1]])
    for kernel in (None, (2, False), (32, True)):
        kept, taken = partition(cpu_library, score, 3, kernel)
        assert taken.tolist() == [[0, 2, 3], [1, 2, 3], [0, 2, 3]]
        assert kept.tolist() == [[1], [0], [1]]


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=40), st.data())
def test_any_bit_pattern_gives_a_permutation(cpu_library: ctypes.CDLL, bits: list[int], data: st.DataObject) -> None:
    """TensorRT times plugins on memory with arbitrary content, NaN included: every index must stay in range."""
    score = torch.from_numpy(np.array([bits], np.uint32).view(np.float32))
    k = data.draw(st.integers(1, len(bits)))
    for kernel in (None, (32, False), (7, True)):
        kept, taken = partition(cpu_library, score, k, kernel)
        assert sorted([*kept[0].tolist(), *taken[0].tolist()]) == list(range(len(bits)))


@pytest.mark.parametrize(
    ("numbers", "kind", "reason"),
    [
        ((1, 4, 0), 0, "attribute"),
        ((1, 4, 5), 0, "attribute"),
        ((1, 4, -1), 0, "attribute"),
        ((-1, 4, 2), 0, "size"),
        ((1, 2**24 + 1, 2), 0, "size"),
        ((1, 4, 2), 3, "type"),
        ((1, 4, 2), 9, "type"),
    ],
)
def test_bad_arguments_are_refused(
    cpu_library: ctypes.CDLL, numbers: tuple[int, int, int], kind: int, reason: str
) -> None:
    """Refused before anything is read or written."""
    score, kept, taken = np.zeros(1, np.float32), np.full(1, _UNWRITTEN, np.int32), np.full(1, _UNWRITTEN, np.int32)
    for kernel in (None, (32, False)):
        assert call(cpu_library, score, numbers, (kept, taken), kind, kernel) == STATUS[reason]
    assert kept[0] == taken[0] == _UNWRITTEN


def test_missing_tensors_and_impossible_blocks_are_refused(cpu_library: ctypes.CDLL) -> None:
    score, out = np.zeros(2, np.float32), np.zeros(2, np.int32)
    for given_score, outputs in ((None, (out, out)), (score, (None, out)), (score, (out, None))):
        assert call(cpu_library, given_score, (1, 2, 1), outputs) == STATUS["null pointer"]
    for threads in (0, -1, 1025):
        assert call(cpu_library, score, (1, 2, 1), (out, out), 0, (threads, False)) == STATUS["size"]

"""The CPU reference of the TokenUnmerge plugin against the op's torch reference and ONNX function."""

from __future__ import annotations

import ctypes

import pytest
import torch
from arrays import BAD_INDEX, BAD_SIZE, BAD_TYPE, ELEMENT_TYPES, NULL_POINTER, address, call
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto
from op_models import one_node_model, run_model
from torch import Tensor

from edgeexport.ops.token_unmerge import onnx_function, token_unmerge_reference

_ENTRY = "edgeexport_cpu_token_unmerge"
_PROTO = {torch.float32: TensorProto.FLOAT, torch.float16: TensorProto.FLOAT16, torch.int32: TensorProto.INT32}


def numbered(batch: int, tokens: int, width: int, dtype: torch.dtype) -> Tensor:
    """Every element different (below 2048, so that FP16 holds it), so that a wrong row or image shows."""
    return torch.arange(batch * tokens * width).reshape(batch, tokens, width).to(dtype)


def unmerged(library: ctypes.CDLL, tokens: Tensor, index: Tensor) -> Tensor:
    """Rows start as -7, so that one that is not written shows."""
    batch, n, width = tokens.shape
    rows = torch.full((batch, index.shape[1], width), -7).to(tokens.dtype)
    numbers = (batch, n, index.shape[1], width, ELEMENT_TYPES[tokens.dtype])
    assert call(library, _ENTRY, address(tokens), address(index), address(rows), *numbers) == 0
    return rows


@st.composite
def cases(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    batch, tokens, width = draw(st.integers(1, 3)), draw(st.integers(1, 13)), draw(st.integers(1, 24))
    rows = draw(st.integers(1, 20))  # more rows than tokens: unsharing repeats
    chosen = st.lists(st.integers(0, tokens - 1), min_size=rows, max_size=rows)
    index = torch.tensor(draw(st.lists(chosen, min_size=batch, max_size=batch)), dtype=torch.int32)
    return numbered(batch, tokens, width, draw(st.sampled_from(list(ELEMENT_TYPES)))), index


@settings(deadline=None, max_examples=100)
@given(case=cases())
def test_equals_the_torch_reference(cpu_library: ctypes.CDLL, case: tuple[Tensor, Tensor]) -> None:
    found = unmerged(cpu_library, *case)
    assert torch.equal(found, token_unmerge_reference(*case))


@settings(deadline=None, max_examples=25)
@given(case=cases())
def test_equals_the_onnx_function(cpu_library: ctypes.CDLL, case: tuple[Tensor, Tensor]) -> None:
    tokens, index = case
    found = unmerged(cpu_library, tokens, index)
    inputs = {"tokens": tokens, "index": index}
    model = one_node_model(onnx_function(), inputs, {"rows": (_PROTO[tokens.dtype], found.shape)})
    assert torch.equal(found, run_model(model, inputs)[0])


@pytest.mark.parametrize("bits", [0x80000000, 0x7FC12345, 0x7F800001, 0x00000001], ids=hex)
def test_bits_are_copied_as_they_are(cpu_library: ctypes.CDLL, bits: int) -> None:
    """Negative zero, NaNs with a payload and subnormals."""
    tokens = torch.tensor([[[0], [bits - (bits >> 31 << 32)]]], dtype=torch.int32)
    found = unmerged(cpu_library, tokens.view(torch.float32), torch.tensor([[1, 0]], dtype=torch.int32))
    assert found.view(torch.int32).flatten().tolist() == [tokens[0, 1, 0].item(), 0]


def test_nothing_asked_for_is_nothing_done(cpu_library: ctypes.CDLL) -> None:
    assert unmerged(cpu_library, numbered(2, 4, 3, torch.float32), torch.zeros(2, 0, dtype=torch.int32)).numel() == 0
    assert call(cpu_library, _ENTRY, None, None, None, 0, 4, 3, 2, 0) == 0


@pytest.mark.parametrize("wrong", [-1, 4, 2**31 - 1, -(2**31)])
def test_an_index_outside_is_refused_and_nothing_written(cpu_library: ctypes.CDLL, wrong: int) -> None:
    tokens, rows = numbered(2, 4, 3, torch.float32), torch.full((2, 2, 3), -7.0)
    index = torch.tensor([[0, 3], [1, wrong]], dtype=torch.int32)
    assert call(cpu_library, _ENTRY, address(tokens), address(index), address(rows), 2, 4, 2, 3, 0) == BAD_INDEX
    assert torch.equal(rows, torch.full((2, 2, 3), -7.0))


@pytest.mark.parametrize(
    ("numbers", "status"),
    [
        ((-1, 4, 2, 3, 0), BAD_SIZE),
        ((1, -4, 2, 3, 0), BAD_SIZE),
        ((1, 4, -2, 3, 0), BAD_SIZE),
        ((1, 4, 2, -3, 0), BAD_SIZE),
        ((2**16, 4, 2**15, 3, 0), BAD_SIZE),
        ((1, 4, 2, 3, 2), BAD_TYPE),
        ((1, 4, 2, 3, 8), BAD_TYPE),
        ((1, 0, 2, 3, 0), BAD_INDEX),
    ],
)
def test_impossible_arguments_are_refused(
    cpu_library: ctypes.CDLL, numbers: tuple[int, int, int, int, int], status: int
) -> None:
    tokens, index, rows = numbered(1, 4, 3, torch.float32), torch.zeros(1, 2, dtype=torch.int32), torch.zeros(1, 2, 3)
    assert call(cpu_library, _ENTRY, address(tokens), address(index), address(rows), *numbers) == status


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_a_missing_address_is_refused(cpu_library: ctypes.CDLL, missing: int) -> None:
    tensors = [numbered(1, 4, 3, torch.float32), torch.zeros(1, 2, dtype=torch.int32), torch.zeros(1, 2, 3)]
    places = [None if number == missing else address(tensor) for number, tensor in enumerate(tensors)]
    assert call(cpu_library, _ENTRY, *places, 1, 4, 2, 3, 0) == NULL_POINTER

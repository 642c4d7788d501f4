"""TokenUnmerge: torch reference == brute force in Python == ONNX body in ONNX Runtime."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto
from op_models import assert_static_standard_graph, exported_node, one_node_model, run_model
from torch import Tensor

from edgeexport.ops import DOMAIN
from edgeexport.ops.token_unmerge import ATTRIBUTES, NAME, onnx_function, token_unmerge, token_unmerge_reference

ELEMENT_TYPES = {
    torch.float32: TensorProto.FLOAT,
    torch.float16: TensorProto.FLOAT16,
    torch.int32: TensorProto.INT32,
    torch.bool: TensorProto.BOOL,
}


def model_for(tokens: Tensor, index: Tensor):
    shape = (tokens.shape[0], index.shape[1], tokens.shape[2])
    rows = {"rows": (ELEMENT_TYPES[tokens.dtype], shape)}
    return one_node_model(onnx_function(), {"tokens": tokens, "index": index}, rows)


def run_body(tokens: Tensor, index: Tensor) -> Tensor:
    return run_model(model_for(tokens, index), {"tokens": tokens, "index": index})[0]


def numbered(batch: int, tokens: int, width: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Every element different (but for bool), so that a wrong row or image shows."""
    values = torch.arange(batch * tokens * width).reshape(batch, tokens, width)
    return values % 3 == 0 if dtype == torch.bool else values.to(dtype)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    batch, tokens, width = draw(st.integers(1, 3)), draw(st.integers(1, 13)), draw(st.integers(1, 5))
    rows = draw(st.integers(1, 20))  # more rows than tokens: unsharing repeats
    chosen = st.lists(st.integers(0, tokens - 1), min_size=rows, max_size=rows)
    index = torch.tensor(draw(st.lists(chosen, min_size=batch, max_size=batch)), dtype=torch.int32)
    return numbered(batch, tokens, width), index


@settings(deadline=None, max_examples=60)
@given(cases())
def test_reference_equals_brute_force_equals_body(case: tuple[Tensor, Tensor]) -> None:
    tokens, index = case
    expected = [[tokens[image, i].tolist() for i in row] for image, row in enumerate(index.tolist())]
    for found in (token_unmerge(tokens, index), run_body(tokens, index)):
        assert found.dtype == tokens.dtype
        assert found.tolist() == expected


@pytest.mark.parametrize("dtype", list(ELEMENT_TYPES), ids=str)
def test_every_dtype_that_tokens_have(dtype: torch.dtype) -> None:
    """Features, masks, index maps (composed stage by stage) and the protected flag all pass through."""
    tokens, index = numbered(2, 4, 3, dtype), torch.tensor([[3, 0, 3], [1, 1, 2]], dtype=torch.int32)
    expected = torch.stack([tokens[0, [3, 0, 3]], tokens[1, [1, 1, 2]]])
    assert torch.equal(token_unmerge(tokens, index), expected)
    assert torch.equal(run_body(tokens, index), expected)


def test_an_empty_choice_gives_no_rows() -> None:
    tokens, index = numbered(2, 4, 3), torch.zeros(2, 0, dtype=torch.int32)
    assert token_unmerge(tokens, index).shape == run_body(tokens, index).shape == (2, 0, 3)


@pytest.mark.parametrize(("batch", "tokens", "rows", "width"), [(1, 712, 1024, 150), (2, 5, 3, 1), (1, 1, 1, 1)])
def test_inlined_body_is_static(batch: int, tokens: int, rows: int, width: int) -> None:
    values, index = numbered(batch, tokens, width), torch.randint(tokens, (batch, rows), dtype=torch.int32)
    plain = assert_static_standard_graph(model_for(values, index))
    (found,) = run_model(plain, {"tokens": values, "index": index})
    assert torch.equal(found, token_unmerge_reference(values, index))


def test_export_emits_one_node_without_attributes() -> None:
    class Unmerge(torch.nn.Module):
        def forward(self, tokens: Tensor, index: Tensor) -> Tensor:
            return token_unmerge(tokens, index)

    node = exported_node(Unmerge(), torch.rand(2, 8, 3), torch.zeros(2, 4, dtype=torch.int32))
    assert (node.domain, node.op_type) == (DOMAIN, NAME)
    assert not node.attribute and not ATTRIBUTES and not onnx_function().attribute

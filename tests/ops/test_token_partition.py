"""TokenPartition: torch reference == brute force in Python == ONNX body in ONNX Runtime."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto
from op_models import assert_static_standard_graph, exported_node, one_node_model, run_model
from torch import Tensor

from edgeexport.ops import DOMAIN
from edgeexport.ops.token_partition import (
    ATTRIBUTES,
    NAME,
    onnx_function,
    tensorrt_function,
    token_partition,
    token_partition_reference,
)


def model_for(score: Tensor, k: int, body=onnx_function):
    batch, tokens = score.shape
    outputs = {"kept": (TensorProto.INT32, (batch, tokens - k)), "taken": (TensorProto.INT32, (batch, k))}
    return one_node_model(body(), {"score": score}, outputs, {"k": k})


def brute_force(score: Tensor, k: int) -> tuple[list[list[int]], list[list[int]]]:
    kept, taken = [], []
    for row in score.tolist():
        best = sorted(range(len(row)), key=lambda i: (-row[i], i))[:k]
        taken.append(sorted(best))
        kept.append(sorted(set(range(len(row))) - set(best)))
    return kept, taken


@st.composite
def cases(draw: st.DrawFn) -> tuple[Tensor, int]:
    batch, tokens = draw(st.integers(1, 3)), draw(st.integers(1, 19))
    k = draw(st.integers(1, tokens) | st.sampled_from([1, tokens]))
    # Few levels, both zeros among them: ties at the cut are the rule. -2..1 is the range of DToP's keys.
    level = st.sampled_from([-1.5, -0.0, 0.0, 0.25, 0.5])
    free = st.floats(-2, 1, width=32)
    kind = draw(st.sampled_from([level, free, st.just(draw(free))]))
    rows = draw(st.lists(st.lists(kind, min_size=tokens, max_size=tokens), min_size=batch, max_size=batch))
    return torch.tensor(rows, dtype=torch.float32), k


@settings(deadline=None, max_examples=100)
@given(cases())
def test_reference_equals_brute_force_equals_body(case: tuple[Tensor, int]) -> None:
    score, k = case
    expected_kept, expected_taken = brute_force(score, k)
    bodies = [run_model(model_for(score, k, body), {"score": score}) for body in (onnx_function, tensorrt_function)]
    for kept, taken in (token_partition(score, k), *bodies):
        assert kept.dtype == taken.dtype == torch.int32
        assert kept.shape == (score.shape[0], score.shape[1] - k)
        assert taken.shape == (score.shape[0], k)
        assert kept.tolist() == expected_kept
        assert taken.tolist() == expected_taken


@settings(deadline=None, max_examples=100)
@given(cases())
def test_parts_are_ascending_and_together_a_permutation(case: tuple[Tensor, int]) -> None:
    score, k = case
    for part in (parts := token_partition_reference(score, k)):
        assert (part.diff(dim=1) > 0).all()
    together = torch.cat(parts, dim=1).sort(dim=1).values
    assert torch.equal(together, torch.arange(score.shape[1], dtype=torch.int32).expand_as(together))


@pytest.mark.parametrize("k", [1, 8, 104, 511, 512, 1000, 1023, 1024])
@pytest.mark.parametrize("levels", [1, 2, 40, 10**6])
def test_body_breaks_ties_like_the_reference_at_real_sizes(k: int, levels: int) -> None:
    """ONNX Runtime selects by heap or by partial sort, depending on k and N; the order among equals must not change."""
    generator = torch.Generator().manual_seed(levels * 5000 + k)
    score = torch.randint(levels, (2, 1024), generator=generator) / levels
    expected = token_partition_reference(score, k)
    found = run_model(model_for(score, k), {"score": score})
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_all_equal_takes_the_lowest_indices() -> None:
    kept, taken = token_partition(torch.full((2, 7), 0.3), 3)
    assert taken.tolist() == [[0, 1, 2]] * 2
    assert kept.tolist() == [[3, 4, 5, 6]] * 2


def test_both_zeros_are_equal() -> None:
    score = torch.tensor([[-0.0, 0.0, -0.0, 0.0]])
    for _, taken in (token_partition(score, 2), run_model(model_for(score, 2), {"score": score})):
        assert taken.tolist() == [[0, 1]]


def test_taking_every_token_leaves_an_empty_part() -> None:
    """k = N is valid: CTS that shares every window has no unshared patch."""
    score = torch.rand(2, 5)
    for kept, taken in (token_partition(score, 5), run_model(model_for(score, 5), {"score": score})):
        assert kept.shape == (2, 0)
        assert taken.tolist() == [[0, 1, 2, 3, 4]] * 2


def test_images_of_a_batch_choose_for_themselves() -> None:
    score = torch.tensor([[0.9, 0.1, 0.8, 0.2], [0.1, 0.9, 0.2, 0.8], [0.0, 0.0, 0.1, 0.1]])
    model = model_for(score, 2)
    for kept, taken in (token_partition(score, 2), run_model(model, {"score": score})):
        assert taken.tolist() == [[0, 2], [1, 3], [2, 3]]
        assert kept.tolist() == [[1, 3], [0, 2], [0, 1]]
        for image in range(3):
            alone = token_partition(score[image : image + 1], 2)
            assert torch.equal(alone[0][0], kept[image]) and torch.equal(alone[1][0], taken[image])


@pytest.mark.parametrize(("batch", "tokens", "k"), [(1, 1024, 360), (2, 715, 1), (3, 5, 5), (1, 1, 1)])
def test_inlined_body_is_static(batch: int, tokens: int, k: int) -> None:
    score = torch.rand(batch, tokens)
    model = model_for(score, k)
    plain = assert_static_standard_graph(model)
    found, expected = run_model(plain, {"score": score}), token_partition_reference(score, k)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_export_emits_one_node_with_the_attribute() -> None:
    class Partition(torch.nn.Module):
        def forward(self, score: Tensor) -> tuple[Tensor, Tensor]:
            return token_partition(score, 3)

    node = exported_node(Partition(), torch.rand(2, 8))
    assert (node.domain, node.op_type) == (DOMAIN, NAME)
    assert {item.name: item.i for item in node.attribute} == {"k": 3}
    assert set(ATTRIBUTES) == {"k"} == set(onnx_function().attribute)

"""TokenProtect: torch reference == brute force in Python == ONNX body in ONNX Runtime."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto
from op_models import assert_static_standard_graph, exported_node, one_node_model, run_model
from torch import Tensor

from edgeexport.ops import DOMAIN
from edgeexport.ops.token_protect import (
    ATTRIBUTES,
    NAME,
    onnx_function,
    tensorrt_function,
    token_protect,
    token_protect_reference,
)


def model_for(confidence: Tensor, label: Tensor, num_classes: int, per_class: int, body=onnx_function):
    return one_node_model(
        body(),
        {"confidence": confidence, "label": label},
        {"protected": (TensorProto.BOOL, confidence.shape)},
        {"num_classes": num_classes, "per_class": per_class},
    )


def run_body(confidence: Tensor, label: Tensor, num_classes: int, per_class: int, body=onnx_function) -> Tensor:
    model = model_for(confidence, label, num_classes, per_class, body)
    return run_model(model, {"confidence": confidence, "label": label})[0]


def brute_force(confidence: Tensor, label: Tensor, per_class: int) -> list[list[bool]]:
    result = []
    for row, classes in zip(confidence.tolist(), label.tolist(), strict=True):
        protected = [False] * len(row)
        for klass in set(classes):
            members = [i for i in range(len(row)) if classes[i] == klass]
            for i in sorted(members, key=lambda i: (-row[i], i))[:per_class]:
                protected[i] = True
        result.append(protected)
    return result


@st.composite
def cases(draw: st.DrawFn) -> tuple[Tensor, Tensor, int, int]:
    batch, tokens, classes = draw(st.integers(1, 3)), draw(st.integers(1, 15)), draw(st.integers(1, 6))
    per_class = draw(st.integers(1, tokens) | st.sampled_from([1, tokens]))
    value = draw(st.sampled_from([st.sampled_from([0.0, 0.5, 1.0]), st.floats(0, 1, width=32)]))
    used = st.integers(0, draw(st.integers(0, classes - 1)))  # often some classes have no token at all

    def rows(element: st.SearchStrategy) -> list:
        return draw(st.lists(st.lists(element, min_size=tokens, max_size=tokens), min_size=batch, max_size=batch))

    confidence = torch.tensor(rows(value), dtype=torch.float32)
    return confidence, torch.tensor(rows(used), dtype=torch.int32), classes, per_class


@settings(deadline=None, max_examples=100)
@given(cases())
def test_reference_equals_brute_force_equals_body(case: tuple[Tensor, Tensor, int, int]) -> None:
    confidence, label, _, per_class = case
    expected = brute_force(confidence, label, per_class)
    for found in (token_protect(*case), run_body(*case), run_body(*case, tensorrt_function)):
        assert found.dtype == torch.bool
        assert found.tolist() == expected


@pytest.mark.parametrize("levels", [1, 3, 10**6])
@pytest.mark.parametrize("per_class", [1, 5, 64])
def test_body_breaks_ties_like_the_reference_at_real_sizes(levels: int, per_class: int) -> None:
    generator = torch.Generator().manual_seed(levels + per_class)
    confidence = torch.randint(levels, (2, 1024), generator=generator) / levels
    label = torch.randint(12, (2, 1024), generator=generator, dtype=torch.int32)
    expected = token_protect_reference(confidence, label, 150, per_class)
    for body in (onnx_function, tensorrt_function):
        assert torch.equal(run_body(confidence, label, 150, per_class, body), expected)
    counts = torch.stack([torch.bincount(row, minlength=150) for row in label])
    assert expected.sum() == counts.clamp(max=per_class).sum()


def test_equal_confidences_protect_the_lowest_index() -> None:
    confidence, label = torch.full((1, 6), 0.5), torch.tensor([[1, 0, 1, 0, 1, 0]], dtype=torch.int32)
    for found in (token_protect(confidence, label, 3, 2), run_body(confidence, label, 3, 2)):
        assert found.tolist() == [[True, True, True, True, False, False]]


def test_confidence_zero_is_still_a_token() -> None:
    """Absent tokens are marked by -1 inside; 0 is the least confidence there is, and protects as any other."""
    confidence, label = torch.zeros(1, 3), torch.tensor([[0, 0, 2]], dtype=torch.int32)
    for found in (token_protect(confidence, label, 4, 1), run_body(confidence, label, 4, 1)):
        assert found.tolist() == [[True, False, True]]


@pytest.mark.parametrize("per_class", [3, 7])
def test_a_class_with_fewer_tokens_protects_them_all_and_no_others(per_class: int) -> None:
    confidence = torch.tensor([[0.9, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6]])
    label = torch.tensor([[4, 0, 0, 0, 0, 0, 0]], dtype=torch.int32)
    expected = [[True, per_class == 7, per_class == 7, per_class == 7, True, True, True]]
    for found in (token_protect(confidence, label, 5, per_class), run_body(confidence, label, 5, per_class)):
        assert found.tolist() == expected


def test_images_of_a_batch_choose_for_themselves() -> None:
    confidence = torch.tensor([[0.9, 0.8, 0.7, 0.1], [0.1, 0.2, 0.3, 0.4]])
    label = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]], dtype=torch.int32)
    together = token_protect(confidence, label, 2, 1)
    assert together.tolist() == [[True, False, True, False], [False, False, False, True]]
    assert torch.equal(run_body(confidence, label, 2, 1), together)
    for image in range(2):
        one = slice(image, image + 1)
        assert torch.equal(token_protect(confidence[one], label[one], 2, 1)[0], together[image])


@pytest.mark.parametrize(
    ("batch", "tokens", "classes", "per_class"), [(1, 712, 150, 5), (2, 9, 3, 9), (3, 1, 1, 1), (1, 2, 200, 2)]
)
def test_inlined_body_is_static(batch: int, tokens: int, classes: int, per_class: int) -> None:
    confidence, label = torch.rand(batch, tokens), torch.randint(classes, (batch, tokens), dtype=torch.int32)
    plain = assert_static_standard_graph(model_for(confidence, label, classes, per_class))
    (found,) = run_model(plain, {"confidence": confidence, "label": label})
    assert torch.equal(found, token_protect_reference(confidence, label, classes, per_class))


def test_export_emits_one_node_with_the_attributes() -> None:
    class Protect(torch.nn.Module):
        def forward(self, confidence: Tensor, label: Tensor) -> Tensor:
            return token_protect(confidence, label, 4, 2)

    node = exported_node(Protect(), torch.rand(2, 8), torch.zeros(2, 8, dtype=torch.int32))
    assert (node.domain, node.op_type) == (DOMAIN, NAME)
    assert {item.name: item.i for item in node.attribute} == {"num_classes": 4, "per_class": 2}
    assert set(ATTRIBUTES) == set(onnx_function().attribute) == {"num_classes", "per_class"}

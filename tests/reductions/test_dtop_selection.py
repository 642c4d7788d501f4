"""DToP: fixed against adaptive, thresholds that hit a count, protection, each against brute force in Python."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from edgeexport.graph.export import exported_model
from edgeexport.ops import token_partition, token_protect
from edgeexport.reductions.dtop_selection import (
    confidence_and_label,
    priority,
    prune_adaptive,
    prune_fixed,
    threshold_for_count,
)
from edgeexport.tokens.trace import inverse_permutation

CLASSES = 4
Case = tuple[Tensor, Tensor, int]


@st.composite
def cases(draw: st.DrawFn, batch: int | None = None) -> Case:
    """confidence (B, n) or (n,), label, protect_per_class; coarse confidences make ties, fine ones adjacent floats."""
    tokens, protect = draw(st.integers(2, 16)), draw(st.sampled_from([0, 1, 2, 5, 20]))
    half = np.float32(0.5)
    value = draw(
        st.sampled_from(
            [
                st.sampled_from([0.0, 0.25, 0.5, 1.0]),
                st.sampled_from([float(half), float(np.nextafter(half, 1)), float(np.nextafter(half, 0))]),
                st.floats(0, 1, width=32),
            ]
        )
    )
    label = st.integers(0, CLASSES - 1)

    def rows(element: st.SearchStrategy) -> list:
        row = st.lists(element, min_size=tokens, max_size=tokens)
        return draw(row if batch is None else st.lists(row, min_size=batch, max_size=batch))

    return (
        torch.tensor(rows(value), dtype=torch.float32),
        torch.tensor(rows(label), dtype=torch.int32),
        protect,
    )


def published(confidence: Tensor, label: Tensor, threshold: float, protect: int) -> list[int]:
    """Pruned tokens by the paper's sentence: above theta, but of each class the most confident such tokens stay."""
    rows, classes = confidence.tolist(), label.tolist()
    pruned = []
    for klass in set(classes):
        above = [i for i in range(len(rows)) if classes[i] == klass and rows[i] > threshold]
        pruned += sorted(above, key=lambda i: (-rows[i], i))[protect:]
    return sorted(pruned)


def protected_tokens(confidence: Tensor, label: Tensor, protect: int) -> set[int]:
    """The most confident tokens of each class, from the definition."""
    return set(range(len(confidence))) - set(published(confidence, label, -1.0, protect))


def float32_thresholds(confidence: Tensor) -> list[float]:
    """One threshold for every way in which the strict comparison can divide the tokens."""
    return [-1.0, *sorted(set(confidence.tolist()))]


@settings(deadline=None, max_examples=150)
@given(cases(), st.floats(-0.5, 1.0, width=32))
def test_adaptive_equals_brute_force(case: Case, free: float) -> None:
    confidence, label, protect = case
    for threshold in [free, *float32_thresholds(confidence)]:
        kept, pruned = prune_adaptive(confidence, label, threshold, CLASSES, protect)
        assert pruned.tolist() == published(confidence, label, threshold, protect)
        assert kept.tolist() == sorted(set(range(len(confidence))) - set(pruned.tolist()))


@settings(deadline=None, max_examples=200)
@given(cases())
def test_fixed_with_the_adaptive_count_prunes_the_same_tokens(case: Case) -> None:
    confidence, label, protect = case
    tokens = len(confidence)
    for threshold in float32_thresholds(confidence):
        kept, pruned = prune_adaptive(confidence, label, threshold, CLASSES, protect)
        k = len(pruned)
        if not 0 < k < tokens:
            continue
        fixed_kept, fixed_pruned, _ = prune_fixed(confidence[None], label[None], k, CLASSES, protect)
        assert fixed_pruned[0].tolist() == pruned.tolist()
        assert fixed_kept[0].tolist() == kept.tolist()


@settings(deadline=None, max_examples=200)
@given(cases())
@example((torch.tensor([0.5, float(np.nextafter(np.float32(0.5), np.float32(1)))]), torch.zeros(2).int(), 0))
@example((torch.tensor([0.5, float(np.nextafter(np.float32(0.5), np.float32(0)))]), torch.zeros(2).int(), 0))
@example((torch.tensor([0.5, 0.5]), torch.zeros(2).int(), 0))
def test_threshold_prunes_exactly_k_and_is_none_only_where_none_exists(case: Case) -> None:
    confidence, label, protect = case
    possible = {len(published(confidence, label, theta, protect)) for theta in float32_thresholds(confidence)}
    for k in range(1, len(confidence) + 1):
        threshold = threshold_for_count(confidence, label, k, CLASSES, protect)
        assert (threshold is not None) == (k in possible)
        if threshold is not None:
            assert len(prune_adaptive(confidence, label, threshold, CLASSES, protect)[1]) == k


def test_threshold_lies_halfway() -> None:
    confidence, label = torch.tensor([0.25, 0.75, 0.5]), torch.zeros(3, dtype=torch.int32)
    assert threshold_for_count(confidence, label, 1, CLASSES, 0) == 0.625
    assert threshold_for_count(confidence, label, 2, CLASSES, 0) == 0.375
    assert threshold_for_count(confidence, label, 3, CLASSES, 0) < 0.25


@settings(deadline=None, max_examples=150)
@given(cases(batch=2), st.data())
def test_fixed_equals_brute_force_for_every_k(case: Case, data: st.DataObject) -> None:
    """Unprotected tokens leave first, most confident first; where k asks for more, so do protected ones by the key."""
    confidence, label, protect = case
    tokens = confidence.shape[1]
    k = data.draw(st.integers(1, tokens - 1))
    kept, pruned, protected = prune_fixed(confidence, label, k, CLASSES, protect)
    assert kept.dtype == pruned.dtype == torch.int32 and protected.dtype == torch.bool
    assert kept.shape == (2, tokens - k) and pruned.shape == (2, k) and protected.shape == (2, tokens)
    for image in range(2):
        inside = protected_tokens(confidence[image], label[image], protect)
        assert set(torch.nonzero(protected[image]).flatten().tolist()) == inside
        row = confidence[image].numpy()
        # float32, as the op computes it: confidence - 2 is coarser, and equal keys go by index.
        key = [float(row[i] - np.float32(2)) if i in inside else float(row[i]) for i in range(tokens)]
        first = sorted(range(tokens), key=lambda i: (-key[i], i))[:k]
        assert pruned[image].tolist() == sorted(first)
        assert kept[image].tolist() == sorted(set(range(tokens)) - set(first))
        if k <= tokens - len(inside):
            assert not inside & set(first)
        else:
            assert set(range(tokens)) - inside <= set(first)


def test_k_above_the_unprotected_prunes_the_most_confident_protected_token() -> None:
    confidence = torch.tensor([[0.9, 0.8, 0.2, 0.1]])
    label = torch.tensor([[0, 0, 1, 2]], dtype=torch.int32)
    kept, pruned, protected = prune_fixed(confidence, label, 2, CLASSES, 1)
    assert protected.tolist() == [[True, False, True, True]]
    assert pruned.tolist() == [[0, 1]]
    assert kept.tolist() == [[2, 3]]
    assert threshold_for_count(confidence[0], label[0], 2, CLASSES, 1) is None


def test_protecting_more_than_there_are_tokens() -> None:
    confidence, label = torch.rand(1, 6), torch.zeros(1, 6, dtype=torch.int32)
    kept, pruned, protected = prune_fixed(confidence, label, 2, CLASSES, 50)
    assert protected.all()
    assert pruned[0].tolist() == sorted(confidence[0].topk(2).indices.tolist())
    assert kept.shape == (1, 4)


def test_images_of_a_batch_choose_for_themselves() -> None:
    generator = torch.Generator().manual_seed(0)
    confidence = torch.rand(3, 20, generator=generator)
    label = torch.randint(CLASSES, (3, 20), generator=generator, dtype=torch.int32)
    together = prune_fixed(confidence, label, 6, CLASSES, 2)
    assert len({tuple(row) for row in together[1].tolist()}) == 3
    for image in range(3):
        alone = prune_fixed(confidence[image : image + 1], label[image : image + 1], 6, CLASSES, 2)
        assert all(torch.equal(a[0], b[image]) for a, b in zip(alone, together, strict=True))


def test_priority_puts_every_protected_token_behind_every_other() -> None:
    confidence = torch.tensor([[0.0, 1.0, 0.5]])
    assert priority(confidence, torch.tensor([[False, True, False]])).tolist() == [[0.0, -1.0, 0.5]]


def test_confidence_is_the_best_score_and_label_the_lowest_best_class() -> None:
    scores = torch.tensor([[[0.1, 0.7, 0.2], [0.4, 0.7, 0.2], [0.3, 0.1, 0.2]]])
    confidence, label = confidence_and_label(scores)
    assert torch.equal(confidence, torch.tensor([[0.4, 0.7, 0.2]]))
    assert label.dtype == torch.int32
    assert label.tolist() == [[1, 0, 0]]


@pytest.mark.parametrize("k", [5, 19])
def test_exported_graph_equals_torch(k: int) -> None:
    """Scores with ties between classes and between tokens, k below and above the unprotected number."""

    class Stage(torch.nn.Module):
        def forward(self, scores: Tensor) -> tuple[Tensor, ...]:
            confidence, label = confidence_and_label(scores)
            kept, pruned, protected = prune_fixed(confidence, label, k, CLASSES, 2)
            back = inverse_permutation(torch.cat([pruned, kept], dim=1))
            return confidence, label, kept, pruned, protected, back

    names = ("confidence", "label", "kept", "pruned", "protected", "back")
    scores = torch.randint(5, (2, CLASSES, 24), generator=torch.Generator().manual_seed(k)) / 4
    model = exported_model(Stage().eval(), (torch.zeros_like(scores),), ["scores"], names, {})
    model.functions.extend(op.onnx_function() for op in (token_partition, token_protect))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for image_order in (scores, scores.flip(0)):
        found = session.run(list(names), {"scores": image_order.numpy()})
        for name, value, expected in zip(names, found, Stage()(image_order), strict=True):
            np.testing.assert_array_equal(value, expected.numpy(), err_msg=name)

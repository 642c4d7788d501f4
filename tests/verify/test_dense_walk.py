"""A reduced model beside the dense one: equal up to the reduction, apart behind it, and compared at the right tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
import torch
from recipe_cases import TINY, TINY_TIMM

from edgeexport.fixed.model import fixed_from_model
from edgeexport.fixed.schedule import dense_recipe
from edgeexport.fixed.weights import model_from_recipe
from edgeexport.inputs.batches import image_batches
from edgeexport.inputs.photos import shipped_photos
from edgeexport.recipe.schema import Recipe
from edgeexport.tokens.trace import Trace
from edgeexport.verify.dense import dense_walk
from edgeexport.verify.walk import Walk

PREPROCESS = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])


@pytest.fixture
def walked(validated: Callable[..., Recipe]) -> Callable[..., Walk]:
    def walk(reduction: Mapping[str, object], base: Mapping) -> Walk:
        changes = {("reduction",): dict(reduction), ("input", "preprocess"): PREPROCESS}
        recipe = validated(changes, base)
        model, _ = model_from_recipe(recipe)
        batch = next(iter(image_batches(recipe.input, shipped_photos())))
        return dense_walk(fixed_from_model(model, recipe), fixed_from_model(model, dense_recipe(recipe)), batch)

    return walk


def test_a_dense_recipe_is_equal_everywhere(walked: Callable[..., Walk]) -> None:
    walk = walked({}, TINY_TIMM)
    assert [part.part for part in walk.parts] == ["embedding", *(f"block {b}" for b in range(1, 7)), "output 'logits'"]
    assert all(part.error == 0 and part.cosine == pytest.approx(1, abs=1e-12) for part in walk.parts)
    assert walk.fall is None and walk.agreement == 1


@pytest.mark.parametrize(
    ("reduction", "base", "equal", "compared"),
    [
        (dict(tome=dict(r=[0, 0, 9])), TINY_TIMM, 3, [65] * 7),
        (dict(dtop=dict(prune={2: 20, 3: 10})), TINY, None, [64, 64, 44, 34, 34]),
        (dict(cts=dict(num_shared=4), dtop=dict(prune={2: 20})), TINY, 0, None),
    ],
    ids=["merged in block 3", "pruned after blocks 2 and 3", "shared ahead of all"],
)
def test_a_reduced_one_is_equal_before_the_reduction(
    walked: Callable[..., Walk],
    reduction: Mapping[str, object],
    base: Mapping,
    equal: int | None,
    compared: list[int] | None,
) -> None:
    walk = walked(reduction, base)
    parts = list(walk.parts[:-1])
    first = 3 if equal is None else equal  # what leaves after block 2 is missed in block 3
    assert all(part.error == 0 for part in parts[:first])
    assert all(part.error > 0 and part.cosine is not None and part.cosine < 1 for part in parts[first:])
    assert walk.fall is not None and walk.fall.part in [part.part for part in parts[first:]]
    if compared is not None:
        assert [part.values for part in parts] == compared


def test_places_are_where_a_trace_brings_rows_back_from() -> None:
    """Tokens 0 to 4 of block 1, of which 1 and 3 left; patches 0 and 2 share token 4."""
    trace = Trace(share=torch.tensor([[4, 3, 4, 0, 1, 2]]), alive=torch.tensor([[0, 4, 2]]))
    assert trace.places(1, 5, 0).tolist() == [[1, -1, 1, 0, -1, 2]]
    merged = Trace(origin=torch.tensor([[0, 2, 1, 1]], dtype=torch.int32))
    assert merged.places(1, 4, 1).tolist() == [[0, 2, 1, 1]]
    assert Trace().places(2, 3, 1).tolist() == [[0, 1, 2]] * 2

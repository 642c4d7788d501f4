"""SegViT as published: thresholds decide image by image, and what leaves is what the paper's sentence says."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from small_models import small_atm_spec, small_recipe, small_spec
from torch import Tensor

from edgeexport.fixed.model import fixed_from_model
from edgeexport.fixed.published import PublishedImage, PublishedModel
from edgeexport.fixed.schedule import dense_recipe
from edgeexport.fixed.weights import model_from_recipe
from edgeexport.recipe.schema import Recipe

INFINITY = float("inf")
BOTH = ((2, 3), (3, 2))


def recipe_of(per_class: int = 1, **options: object) -> Recipe:
    recipe = small_recipe(prune=BOTH, **options)
    dtop = replace(recipe.reductions["dtop"], protect_per_class=per_class)
    return replace(recipe, reductions={**recipe.reductions, "dtop": dtop})


def images(count: int = 2) -> Tensor:
    return torch.randn(count, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def published(recipe: Recipe) -> PublishedModel:
    return PublishedModel(model_from_recipe(recipe)[0], recipe)


def leaving(stage: tuple[list[int], list[float], list[int]], theta: float, per_class: int) -> list[int]:
    """By the paper's sentence: above theta, but of each class the most confident such tokens stay."""
    tokens, confidence, label = stage
    found = []
    for klass in set(label):
        above = [i for i in range(len(tokens)) if label[i] == klass and confidence[i] > theta]
        found += [tokens[i] for i in sorted(above, key=lambda i: (-confidence[i], i))[per_class:]]
    return sorted(found)


def stage_of(image: PublishedImage, block: int) -> tuple[list[int], list[float], list[int]]:
    stage = image.stages[block]
    return stage.tokens.tolist(), stage.confidence.tolist(), stage.label.tolist()


@pytest.mark.parametrize("per_class", [0, 1, 5])
@pytest.mark.parametrize("shared", [0, 2])
def test_tokens_above_the_threshold_leave(per_class: int, shared: int) -> None:
    model = published(recipe_of(per_class, num_shared=shared))
    looked = model.run([images()], [{"dtop": {2: INFINITY, 3: INFINITY}}] * 2)
    middle = [float(image.stages[2].confidence.median()) for image in looked]
    settings = [{"dtop": {2: theta, 3: theta}} for theta in middle]
    left = []
    for image, theta in zip(model.run([images()], settings), middle, strict=True):
        tokens = list(range(16 - 3 * shared))
        for block in (2, 3):
            stage = stage_of(image, block)
            assert stage[0] == tokens, "a later exit sees those that are left"
            gone = image.outputs[f"pruned_tokens_{block}"].tolist()
            assert gone == leaving(stage, theta, per_class)
            assert image.pruned[block] == len(gone)
            tokens = [token for token in tokens if token not in gone]
        left.append(tokens)
    if per_class < 5:
        assert all(len(tokens) < 16 - 3 * shared for tokens in left)


def test_infinity_only_looks() -> None:
    recipe = recipe_of()
    model = published(recipe)
    for image, plain in zip(
        model.run([images()], [{"dtop": {2: INFINITY, 3: INFINITY}}] * 2),
        PublishedModel(model.model, dense_recipe(recipe)).run([images()]),
        strict=True,
    ):
        assert image.pruned == {2: 0, 3: 0} and plain.pruned == {}
        assert image.stages[3].tokens.tolist() == list(range(16))
        torch.testing.assert_close(image.outputs["scores"], plain.outputs["scores"])


def test_a_block_that_is_not_named_is_no_exit() -> None:
    (image, *_) = published(recipe_of()).run([images()], [{"dtop": {3: INFINITY}}, {}])
    assert set(image.stages) == {3}


def test_its_own_thresholds_are_those_of_the_heads_that_prune() -> None:
    assert published(recipe_of()).own_settings == {"dtop": {2: 0.9, 3: 0.9}}
    first = small_spec()
    heads = (replace(first.auxiliary_heads[0], threshold=None), replace(first.auxiliary_heads[1], threshold=0.7))
    recipe = recipe_of(spec=replace(first, auxiliary_heads=heads))
    assert published(recipe).own_settings == {"dtop": {2: 1.0, 3: 0.7}}
    one = replace(recipe, reductions={"dtop": replace(recipe.reductions["dtop"], prune=((2, 0), (3, 1)))})
    assert published(one).own_settings == {"dtop": {3: 0.7}}
    assert published(dense_recipe(recipe)).own_settings == {}


def test_without_settings_it_runs_by_its_own() -> None:
    model = published(recipe_of())
    own = model.run([images()])
    given = model.run([images()], [model.own_settings] * 2)
    for one, other in zip(own, given, strict=True):
        assert one.pruned == other.pruned
        assert torch.equal(one.outputs["scores"], other.outputs["scores"])


def test_without_upsampling_scores_stay_on_the_grid() -> None:
    model = published(recipe_of(num_shared=2))
    (full, *_), (small, *_) = model.run([images()]), model.run([images()], upsample=False)
    assert "scores" not in small.outputs and "class_map" not in small.outputs
    assert torch.equal(small.outputs["class_scores"], full.outputs["class_scores"])
    assert small.outputs["token_scores"].shape == (5, 10)
    assert small.outputs["class_scores"].shape == (5, 4, 4)
    best = full.outputs["scores"].argmax(dim=0)
    assert torch.equal(full.outputs["class_map"], best.to(torch.int32)) and best.shape == (64, 64)


def test_sharing_tells_windows_and_the_scores_behind_them() -> None:
    """Patches of a shared window have one token's scores."""
    for image in published(recipe_of(num_shared=2)).run([images()]):
        windows, scores = image.outputs["shared_windows"].tolist(), image.scores["shared_windows"]
        assert windows == sorted(sorted(range(4), key=lambda window: (-scores[window], window))[:2])
        cells = image.outputs["class_scores"]
        for window in range(4):
            row, column = 2 * (window // 2), 2 * (window % 2)
            patches = cells[:, row : row + 2, column : column + 2].flatten(1)
            assert bool((patches == patches[:, :1]).all()) == (window in windows)


def test_images_run_one_by_one() -> None:
    model = published(recipe_of(0))
    settings = [{"dtop": {2: 0.2, 3: 0.3}}, {"dtop": {2: 0.4}}]
    together = model.run([images()], settings)
    assert together[0].pruned != together[1].pruned
    for number, image in enumerate(together):
        (alone,) = model.run([images()[number : number + 1]], settings[number : number + 1])
        assert alone.pruned == image.pruned
        assert torch.equal(alone.outputs["scores"], image.outputs["scores"])


@torch.no_grad()
@pytest.mark.parametrize("shared", [0, 2])
def test_fixed_to_the_counts_of_an_image_it_is_the_same(shared: int) -> None:
    recipe = recipe_of(0, num_shared=shared)
    model = published(recipe)
    (looked,) = model.run([images(1)], [{"dtop": {2: INFINITY}}])
    theta = float(looked.stages[2].confidence.median())
    (image,) = model.run([images(1)], [{"dtop": {2: theta, 3: theta}}])
    assert image.pruned[2] > 1
    counts = tuple(sorted(image.pruned.items()))
    dtop = replace(recipe.reductions["dtop"], prune=counts)
    fixed = fixed_from_model(model.model, replace(recipe, reductions={**recipe.reductions, "dtop": dtop}))
    outputs = fixed.trace(images(1)).outputs
    for block, count in counts:
        if count:
            assert outputs[f"pruned_tokens_{block}"][0].tolist() == image.outputs[f"pruned_tokens_{block}"].tolist()
    torch.testing.assert_close(outputs["scores"][0], image.outputs["scores"], atol=1e-5, rtol=1e-4)


def test_an_atm_head_shares_too() -> None:
    recipe = small_recipe(spec=small_atm_spec(), num_shared=2)
    (image, *_) = published(recipe).run([images()])
    assert image.outputs["scores"].shape == (5, 64, 64)
    assert torch.equal(image.outputs["class_scores"], image.outputs["scores"])
    assert "token_scores" not in image.outputs

"""Observations: against the fixed and the adaptive form themselves, and the classes of tokens against their pixels."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
import torch
from observation_cases import CLASSES, CTS_DTOP, GRID, labelled_photos, stage_by_loops, tiny
from torch import Tensor, nn

from edgeexport.calibration.counts import Counts, recipe_with_counts
from edgeexport.calibration.observations import observe_fixed, observe_published
from edgeexport.calibration.stage_observation import ImageObservation, StageObservation
from edgeexport.errors import UsageError
from edgeexport.evaluation.dataset import LabelledImage
from edgeexport.fixed.model import fixed_from_model
from edgeexport.fixed.published import PublishedModel
from edgeexport.fixed.weights import model_from_recipe
from edgeexport.inputs.photos import input_from_photo
from edgeexport.recipe.schema import Recipe
from edgeexport.reductions.cts_layout import layout_reference, window_scores
from edgeexport.reductions.dtop import PruneEvidence
from edgeexport.reductions.dtop_selection import prune_adaptive, prune_fixed
from edgeexport.tokens.preprocess import normalised_image
from edgeexport.tokens.trace import Trace

PROTECT = 5
IMAGES = labelled_photos(3)
THETAS = (0.0, 0.01, 0.1, 0.3, 0.5, 0.9, 0.99)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    return tiny(tmp_path_factory.mktemp("observations"), CTS_DTOP)


@pytest.fixture(scope="module")
def model(recipe: Recipe) -> nn.Module:
    """One whose policy network hesitates about some windows of every image: random weights prefer one answer for all."""
    model, _ = model_from_recipe(recipe)
    with torch.no_grad():
        scores = torch.cat([window_scores(model.policy_net(normal(recipe, image))) for image in IMAGES])
        model.policy_net.head.bias[1] -= scores.median()
    return model


def pixels_of(recipe: Recipe, image: LabelledImage) -> Tensor:
    return torch.from_numpy(input_from_photo(image.photo, recipe.input))[None]


def normal(recipe: Recipe, image: LabelledImage) -> Tensor:
    return normalised_image(pixels_of(recipe, image), recipe.input)


def traced(model: nn.Module, recipe: Recipe, counts: Counts, image: LabelledImage) -> Trace:
    with torch.no_grad():
        return fixed_from_model(model, recipe_with_counts(recipe, counts)).trace(pixels_of(recipe, image))


def pixel_class(label: np.ndarray, patches: list[int]) -> int:
    """The most frequent class of some patches' pixels, counted one by one; -1 where all are ignored."""
    found: Counter[int] = Counter()
    for patch in patches:
        top, left = 16 * (patch // GRID[1]), 16 * (patch % GRID[1])
        found.update(label[top : top + 16, left : left + 16].ravel().tolist())
    del found[255]
    return min(found, key=lambda klass: (-found[klass], klass)) if found else -1


def patches_of_tokens(shared_windows: list[int]) -> list[list[int]]:
    """The patches behind every first token, by the reference layout of CTS."""
    chosen = torch.tensor([[1.0 if window in shared_windows else 0.0 for window in range(16)]])
    source = layout_reference(chosen, len(shared_windows), 4).source[0].tolist()
    return [[patch for patch in range(64) if source[patch] == token] for token in range(max(source) + 1)]


def assert_same(found: StageObservation, expected: StageObservation) -> None:
    assert found.as_dict() == expected.as_dict()


def expected_stage(
    block: int, confidence: Tensor, label: Tensor, tokens: Tensor, image: LabelledImage, shared: list[int]
) -> StageObservation:
    assert image.label is not None
    behind = patches_of_tokens(shared)
    truth = [pixel_class(image.label, behind[token]) for token in tokens.tolist()]
    wrong = [true not in (-1, exit_class) for true, exit_class in zip(truth, label.tolist(), strict=True)]
    return stage_by_loops(block, confidence.numpy(), label.tolist(), wrong, PROTECT)


@pytest.mark.parametrize("counts", [Counts(5, ((2, 12), (3, 9))), Counts(0, ((2, 30), (3, 1))), Counts(9, ((3, 4),))])
def test_fixed_observations_equal_the_fixed_forms_trace(model: nn.Module, recipe: Recipe, counts: Counts) -> None:
    observed = list(observe_fixed(model, recipe, IMAGES, counts, [2, 3]))
    assert [one.name for one in observed] == ["image0", "image1", "image2"]
    for one, image in zip(observed, IMAGES, strict=True):
        assert [stage.block for stage in one.stages] == [2, 3], "those of the recipe, whether they prune or not"
        trace = traced(model, recipe, counts, image)
        shared = trace.outputs["shared_windows"][0].tolist() if counts.num_shared else []
        for block, k in counts.prune:
            stage = one.stage(block)
            evidence = trace.evidence[f"pruned_tokens_{block}"]
            assert isinstance(evidence, PruneEvidence)
            confidence, label = evidence.confidence[0], evidence.label[0]
            assert_same(stage, expected_stage(block, confidence, label, evidence.tokens[0], image, shared))
            pruned = prune_fixed(confidence[None], label[None], k, CLASSES, PROTECT)[1][0]
            leaving = np.concatenate([stage.confidence, np.full(stage.protected, -1)])[:k]
            free = confidence[pruned].sort(descending=True).values.numpy()[: len(stage.confidence)]
            np.testing.assert_array_equal(leaving[leaving >= 0], free)


def test_a_stage_that_does_not_prune_is_observed_all_the_same(model: nn.Module, recipe: Recipe) -> None:
    """Its observation does not depend on what it would prune, so it is that of a form that prunes one token there."""
    for first, then in ((Counts(5, ((2, 12),)), Counts(5, ((2, 12), (3, 1)))), (Counts(), Counts(0, ((2, 1),)))):
        block = then.prune[-1][0]
        for without, pruning in zip(
            observe_fixed(model, recipe, IMAGES, first, [block]),
            observe_fixed(model, recipe, IMAGES, then, [block]),
            strict=True,
        ):
            assert_same(without.stage(block), pruning.stage(block))
            assert [stage.block for stage in without.stages] == [block]
    assert not any(block._forward_hooks for block in model.backbone.layers), "nothing stays hooked to the model"


@pytest.mark.parametrize("thresholds", [{2: 0.3, 3: 0.2}, {2: 0.05, 3: math.inf}, {3: 0.1}])
def test_adaptive_observations_equal_the_adaptive_form(
    model: nn.Module, recipe: Recipe, thresholds: dict[int, float]
) -> None:
    published = PublishedModel(model, recipe)
    pruned_somewhere = 0
    for one, image in zip(observe_published(model, recipe, IMAGES, thresholds), IMAGES, strict=True):
        own = published.run([pixels_of(recipe, image)], [{"dtop": thresholds}])[0]
        left = {block: own.outputs[f"pruned_tokens_{block}"].tolist() for block in thresholds}
        shared = own.outputs["shared_windows"].tolist()
        assert [stage.block for stage in one.stages] == sorted(thresholds)
        for block, theta in thresholds.items():
            stage, seen = one.stage(block), own.stages[block]
            gone = [token for b in thresholds if b < block for token in left[b]]
            assert seen.tokens.tolist() == sorted(set(range(64 - 15)) - set(gone))
            assert_same(stage, expected_stage(block, seen.confidence, seen.label, seen.tokens, image, shared))
            assert stage.prunable(theta) == len(left[block])
            pruned_somewhere += len(left[block])
            for other in THETAS:
                again = prune_adaptive(seen.confidence, seen.label, other, CLASSES, PROTECT)[1]
                assert stage.prunable(other) == len(again)
                assert set(again.tolist()) <= set(range(stage.tokens))
    assert pruned_somewhere > 0


def test_both_forms_observe_the_same_where_nothing_was_pruned_before(model: nn.Module, recipe: Recipe) -> None:
    fixed = list(observe_fixed(model, recipe, IMAGES, Counts(5), [2]))
    adaptive = list(observe_published(model, recipe, IMAGES, {2: 0.5}))
    assert [one.as_dict() for one in fixed] == [one.as_dict() for one in adaptive]


def test_windows_that_the_policy_network_would_share(model: nn.Module, recipe: Recipe) -> None:
    for counts in (Counts(), Counts(7)):
        found = [one.shareable for one in observe_fixed(model, recipe, IMAGES, counts, [2, 3])]
        expected = []
        for image in IMAGES:
            with torch.no_grad():
                share = model.policy_net(normal(recipe, image)).softmax(dim=1)[0, 1]
            expected.append(int((share > 0.5).sum()))
        assert found == expected
    assert len({0, 16, *found}) > 3, "the images differ"


def test_without_stages_only_the_policy_network_runs(
    model: nn.Module, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = [one.shareable for one in observe_fixed(model, recipe, IMAGES, Counts(), [2, 3])]

    def refuse(*arguments: object) -> None:
        raise AssertionError("the transformer ran")

    monkeypatch.setattr(model.backbone.patch_embed, "forward", refuse)
    with pytest.raises(AssertionError, match="the transformer ran"):
        next(observe_fixed(model, recipe, IMAGES, Counts(), [2]))
    found = list(observe_fixed(model, recipe, IMAGES, Counts(), []))
    assert [one.shareable for one in found] == expected
    assert all(one.stages == () and one.uniform is not None for one in found)


def test_without_policy_network_or_labels_there_is_no_figure(recipe: Recipe) -> None:
    bare = recipe_with_counts(recipe, Counts(0, ((2, 4),)))
    model, _ = model_from_recipe(bare)
    image = LabelledImage("plain", IMAGES[0].photo, None)
    for one in (
        *observe_fixed(model, bare, [image], Counts(), [2]),
        *observe_published(model, bare, [image], {2: 0.5}),
    ):
        assert one.shareable is None
        assert one.uniform is None
        assert one.stage(2).wrong is None
        assert one.stage(2).protected_wrong is None
        assert one.stage(2).tokens == 64


def test_uniform_windows_and_ignored_tokens(model: nn.Module, recipe: Recipe) -> None:
    label = np.full((128, 128), 255, dtype=np.int64)
    ignored = next(observe_fixed(model, recipe, [LabelledImage("ignored", IMAGES[0].photo, label)], Counts(), [2]))
    assert ignored.uniform == 16
    stage = ignored.stage(2)
    assert stage.wrong is not None and stage.protected_wrong is not None
    assert not stage.wrong.any() and not stage.protected_wrong.any()
    mixed = np.zeros((128, 128), dtype=np.int64)
    mixed[40, 70] = mixed[100, 100] = mixed[101, 90] = 3
    assert next(observe_fixed(model, recipe, [LabelledImage("m", IMAGES[0].photo, mixed)], Counts(), [])).uniform == 13


@pytest.mark.parametrize(
    "observe",
    [
        lambda model, recipe: observe_fixed(model, recipe, IMAGES, Counts(), [2, 4]),
        lambda model, recipe: observe_published(model, recipe, IMAGES, {4: 0.5}),
    ],
)
def test_a_block_without_an_auxiliary_head(model: nn.Module, recipe: Recipe, observe: Callable) -> None:
    with pytest.raises(UsageError, match=r"block 4 \| no auxiliary head prunes there \| stages: 2, 3"):
        next(observe(model, recipe))


def test_stored_observations_come_back_to_the_bit(model: nn.Module, recipe: Recipe) -> None:
    for one in observe_fixed(model, recipe, IMAGES, Counts(5, ((2, 12),)), [2, 3]):
        again = ImageObservation.from_dict(json.loads(json.dumps(one.as_dict())))
        assert again.as_dict() == one.as_dict()
        for stage in one.stages:
            np.testing.assert_array_equal(again.stage(stage.block).confidence, stage.confidence)
            assert again.stage(stage.block).confidence.dtype == np.float32
            np.testing.assert_array_equal(again.stage(stage.block).wrong, stage.wrong)
    with pytest.raises(KeyError):
        one.stage(1)


def test_a_confidence_equal_to_the_threshold_stays() -> None:
    stage = StageObservation(2, 3, 0, np.array([0.75, 0.1, 0.1], dtype=np.float32))
    for theta in (0.75, 0.1, float(np.float32(0.1)), 0.05):
        label = torch.zeros(3, dtype=torch.int32)
        pruned = prune_adaptive(torch.from_numpy(stage.confidence), label, theta, 1, 0)[1]
        assert stage.prunable(theta) == len(pruned)
    assert stage.prunable(0.1) == 1

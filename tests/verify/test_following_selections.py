"""Near ties in shared windows and pruned tokens: followed like merges, so that outputs differ by rounding alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from edgeexport.fixed.model import FixedModel, fixed_from_model
from edgeexport.fixed.weights import model_from_recipe
from edgeexport.inputs.batches import ImageBatch
from edgeexport.recipe.validation import recipe_from_config
from edgeexport.verify.parity import (
    batch_comparison,
    followed_reference,
    original_comparison,
    reference_of,
    runtime_comparison,
)
from edgeexport.verify.reference import FOLLOWED, Reference, compare_outputs
from edgeexport.verify.tolerances import FP16, FP32

HEAD = {"type": "PruneHead", "img_size": 64, "in_channels": 16, "channels": 16, "num_heads": 2, "num_classes": 4}
HEAD["layers_per_decoder"] = 1
CONFIG = {
    "model": {
        "type": "EncoderDecoderPrune",
        "backbone": {
            "type": "ViT_prune",
            "img_size": (64, 64),
            "patch_size": 16,
            "embed_dims": 16,
            "num_layers": 3,
            "num_heads": 2,
            "out_indices": (0, 1, 2),
            "norm_cfg": {"type": "LN", "eps": 1e-6},
            "with_cls_token": False,
            "num_classes": 4,
        },
        "decode_head": HEAD,
        "auxiliary_head": [{**HEAD, "in_index": 0, "thresh": 0.9}, {**HEAD, "in_index": 1, "thresh": 0.9}],
    },
    "checkpoint": None,
    "input": {"shape": (2, 3, 64, 64)},
    "output": "class_map",
    "reduction": {"cts": {"num_shared": 2, "align_tokens": 1}, "dtop": {"prune": {1: 3, 2: 2}, "protect_per_class": 0}},
}


@pytest.fixture(scope="module")
def fixed(tmp_path_factory: pytest.TempPathFactory) -> FixedModel:
    recipe = recipe_from_config(CONFIG, tmp_path_factory.mktemp("r") / "x.py")
    model, _ = model_from_recipe(recipe)
    return fixed_from_model(model, recipe)


@pytest.fixture(scope="module")
def batch() -> ImageBatch:
    pixels = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(3)).numpy()
    return ImageBatch(("a", "b"), pixels)


def swapped(fixed: FixedModel, batch: ImageBatch, name: str) -> NDArray:
    """The reference's selection with its last choice exchanged for the best token that it left out, in both images."""
    reference = reference_of(fixed, batch)
    chosen = reference.outputs[name].copy()
    for row, score in zip(chosen, reference.decision_scores[name], strict=True):
        left = np.setdiff1d(np.flatnonzero(~np.isnan(score)), row)
        row[np.argmin(score[row])] = left[np.argmax(score[left])]
    return np.sort(chosen, axis=1)


class Other:
    """Executes the fixed model with one selection of its own, and tells what it chose."""

    name, version = "other", "1"

    def __init__(self, fixed: FixedModel, chosen: Mapping[str, NDArray], error: float = 0.0) -> None:
        self.fixed, self.chosen, self.error = fixed, chosen, error

    def run(self, image: NDArray, extra: Mapping[str, NDArray] | None = None) -> dict[str, NDArray]:
        imposed = {name: torch.from_numpy(value) for name, value in self.chosen.items()}
        with torch.no_grad():
            trace = self.fixed.trace(torch.from_numpy(image), imposed=imposed)
        found = {name: value.numpy() for name, value in trace.outputs.items()}
        return {**found, **self.chosen, "class_scores": found["class_scores"] + np.float32(self.error)}


def widely(reference: Reference) -> Reference:
    """The same reference for an execution that may take any two scores for one another."""
    return replace(reference, tolerances=replace(FP32, near_tie=10.0))


@pytest.mark.parametrize("name", ["shared_windows", "pruned_tokens_1", "pruned_tokens_2"])
def test_imposed_selections_are_carried_out(fixed: FixedModel, batch: ImageBatch, name: str) -> None:
    """The model's own choice is told, the imposed one is what the rest is computed with."""
    own = reference_of(fixed, batch)
    chosen = swapped(fixed, batch, name)
    assert (chosen != own.outputs[name]).any(axis=1).all()
    other = Other(fixed, {name: chosen}).run(batch.pixels)
    with torch.no_grad():
        trace = fixed.trace(torch.from_numpy(batch.pixels), imposed={name: torch.from_numpy(chosen)})
    found = trace.outputs
    np.testing.assert_array_equal(found[name].numpy(), own.outputs[name])
    np.testing.assert_array_equal(other[name], chosen)
    assert np.abs(found["class_scores"].numpy() - own.outputs["class_scores"]).max() > 1e-4


def test_imposing_the_own_selections_changes_nothing(fixed: FixedModel, batch: ImageBatch) -> None:
    own = reference_of(fixed, batch)
    names = ["shared_windows", "pruned_tokens_1", "pruned_tokens_2"]
    with torch.no_grad():
        trace = fixed.trace(
            torch.from_numpy(batch.pixels), imposed={name: torch.from_numpy(own.outputs[name]) for name in names}
        )
    for name, value in trace.outputs.items():
        np.testing.assert_array_equal(value.numpy(), own.outputs[name], err_msg=name)


@pytest.mark.parametrize("compare", [runtime_comparison, batch_comparison])
@pytest.mark.parametrize("name", ["shared_windows", "pruned_tokens_1", "pruned_tokens_2"])
def test_ties_are_followed_and_later_stages_judged_under_them(
    fixed: FixedModel, batch: ImageBatch, name: str, compare
) -> None:
    runner = Other(fixed, {name: swapped(fixed, batch, name)})
    found = compare(fixed, widely(reference_of(fixed, batch)), runner)
    assert found.status == "passed", found.reason
    followed = found.facts[FOLLOWED]
    assert isinstance(followed, dict) and set(followed) == {name}  # no later stage differs once the tie is followed
    assert {item.name for item in found.outputs} >= {"class_map", "class_scores"}
    wrong = compare(fixed, widely(reference_of(fixed, batch)), Other(fixed, runner.chosen, error=0.01))
    assert (wrong.status, wrong.reason) == ("failed", "outputs differ: class_scores")


@pytest.mark.parametrize("name", ["shared_windows", "pruned_tokens_1"])
def test_what_is_no_tie_fails(fixed: FixedModel, batch: ImageBatch, name: str) -> None:
    reference = reference_of(fixed, batch)
    runner = Other(fixed, {name: swapped(fixed, batch, name)})
    distance = max(item.farthest or 0.0 for item in runtime_comparison(fixed, widely(reference), runner).decisions)
    for near_tie, status in ((1.01 * distance, "passed"), (0.99 * distance, "failed")):
        judged = replace(reference, tolerances=replace(FP32, near_tie=near_tie))
        assert runtime_comparison(fixed, judged, runner).status == status


def test_a_token_that_is_not_there_fails_whatever_the_tolerance(fixed: FixedModel, batch: ImageBatch) -> None:
    chosen = reference_of(fixed, batch).outputs["pruned_tokens_2"].copy()
    chosen[1] = reference_of(fixed, batch).outputs["pruned_tokens_1"][1, :2]  # they left one stage before
    found = runtime_comparison(fixed, widely(reference_of(fixed, batch)), Other(fixed, {"pruned_tokens_2": chosen}))
    assert found.status == "failed"
    assert "pruned_tokens_2" in found.reason


def test_followed_reference_agrees_without_being_followed(fixed: FixedModel, batch: ImageBatch) -> None:
    """What golden.npz holds."""
    runner = Other(fixed, {"shared_windows": swapped(fixed, batch, "shared_windows")})
    found = runner.run(batch.pixels)
    reference = widely(reference_of(fixed, batch))
    assert runtime_comparison(fixed, reference, runner).status == "passed"
    followed = followed_reference(reference)
    assert followed.tolerances == reference.tolerances
    comparison = compare_outputs("golden", "a", "b", followed, found, "class_map")
    assert comparison.status == "passed", comparison.reason
    assert all(item.equal for item in comparison.decisions)


def test_the_original_is_held_to_float32_whatever_the_graph(fixed: FixedModel, batch: ImageBatch) -> None:
    reference = reference_of(fixed, batch, tolerances=FP16)
    assert reference.near_tie is not None
    assert reference.near_tie.sum() > reference_of(fixed, batch).near_tie.sum()
    found = original_comparison(fixed, reference)
    assert {item.allowed for item in found.decisions} == {FP32.near_tie}
    scores = original_comparison(fixed, reference_of(fixed, batch))
    assert found == scores


def test_protection_is_a_toss_up_by_the_graphs_own_tolerance(tmp_path: Path, batch: ImageBatch) -> None:
    config = {**CONFIG, "reduction": {"dtop": {"prune": {1: 3}, "protect_per_class": 2}}}
    recipe = recipe_from_config(config, tmp_path / "x.py")
    model, _ = model_from_recipe(recipe)
    protected = fixed_from_model(model, recipe)

    def tossed(near_tie: float) -> int:
        tolerances = replace(FP32, near_tie=near_tie)
        return int(
            np.isinf(reference_of(protected, batch, tolerances=tolerances).decision_scores["pruned_tokens_1"]).sum()
        )

    assert tossed(1e-7) < tossed(0.05) <= tossed(1.0)

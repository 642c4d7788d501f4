"""A fixed SegViT: what it gives out by name, what it tells a device, and that it is the model's own weights that run."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from small_models import small_atm_spec, small_recipe

from edgeexport.fixed.model import FixedModel, fixed_from_model
from edgeexport.fixed.published import PublishedModel
from edgeexport.fixed.schedule import dense_recipe
from edgeexport.fixed.weights import model_from_recipe
from edgeexport.hosts.host import TailSpec
from edgeexport.inputs.spec import InputSpec, Preprocess
from edgeexport.recipe.schema import Recipe
from edgeexport.reductions.dtop import PruneEvidence

BOTH = ((2, 3), (3, 2))


def fixed_of(recipe: Recipe) -> FixedModel:
    return fixed_from_model(model_from_recipe(recipe)[0], recipe)


def images() -> torch.Tensor:
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_the_interface_of_fixed_models() -> None:
    recipe = replace(small_recipe(prune=BOTH, num_shared=2), output="class_map", tail=TailSpec("fast", 2))
    fixed = fixed_of(recipe)
    assert not fixed.training
    assert fixed.input_names == ["image"]
    assert fixed.decisions == ["shared_windows", "pruned_tokens_2", "pruned_tokens_3"]
    outputs = fixed.trace(images()).outputs
    assert set(outputs) == set(fixed.output_names)
    for name, value in zip(fixed.output_names, fixed(images()), strict=True):
        assert torch.equal(value, outputs[name])
    assert fixed.output_names[0] == "class_map"
    shapes = {name: (tuple(value.shape), value.dtype) for name, value in outputs.items()}
    assert shapes == {
        "class_map": ((2, 64, 64), torch.int32),
        "class_scores": ((2, 5, 4, 4), torch.float32),
        "uncertified_pixels": ((2,), torch.int32),
        "shared_windows": ((2, 2), torch.int32),
        "pruned_tokens_2": ((2, 3), torch.int32),
        "smallest_pruned_confidence_2": ((2,), torch.float32),
        "protected_pruned_2": ((2,), torch.int32),
        "pruned_tokens_3": ((2, 2), torch.int32),
        "smallest_pruned_confidence_3": ((2,), torch.float32),
        "protected_pruned_3": ((2,), torch.int32),
    }
    assert fixed.manifest == {
        "grid": {"rows": 4, "columns": 4, "patch_size": 16},
        "num_shared": 2,
        "prune": [{"block": 2, "k": 3}, {"block": 3, "k": 2}],
        "merges": [],
    }


def test_examples_are_in_the_recipes_form() -> None:
    recipe = small_recipe()
    (example,) = fixed_of(recipe).example_inputs()
    assert (example.shape, example.dtype) == ((1, 3, 64, 64), torch.float32)
    pixels = InputSpec(3, 64, 64, Preprocess((0.0,) * 3, (1.0,) * 3, True))
    (example,) = fixed_of(replace(recipe, input=pixels)).example_inputs()
    assert (example.shape, example.dtype) == ((3, 64, 64, 3), torch.uint8)


@torch.no_grad()
@pytest.mark.parametrize("spec", [None, small_atm_spec()], ids=["PruneHead", "ATMHead"])
def test_counts_of_zero_are_the_dense_model(spec: object) -> None:
    recipe = small_recipe(spec=spec, prune=() if spec else ((2, 0), (3, 0)))
    fixed, dense = fixed_of(recipe), fixed_of(dense_recipe(recipe))
    assert fixed.output_names == dense.output_names == ["scores"]
    assert torch.equal(fixed(images())[0], dense(images())[0])
    assert fixed.steps == {}


@torch.no_grad()
def test_what_left_is_told_with_its_confidence_and_protection() -> None:
    """With five protected per class, tokens that must leave all the same are counted."""
    fixed = fixed_of(small_recipe(prune=((2, 9),)))
    trace = fixed.trace(images())
    seen = trace.evidence["pruned_tokens_2"]
    assert isinstance(seen, PruneEvidence)
    protected = seen.priority < seen.confidence
    for image in range(2):
        gone = trace.outputs["pruned_tokens_2"][image].long()
        assert gone.tolist() == sorted(gone.tolist())
        assert trace.outputs["smallest_pruned_confidence_2"][image] == seen.confidence[image, gone].min()
        assert trace.outputs["protected_pruned_2"][image] == protected[image, gone].sum()
        assert seen.tokens[image].tolist() == list(range(16))
    assert trace.outputs["protected_pruned_2"].max() > 0


@torch.no_grad()
def test_exits_can_be_asked_what_they_see() -> None:
    """Whether tokens leave there or not, and without a difference to what comes out."""
    fixed = fixed_of(small_recipe(prune=((2, 3),)))
    plain, trace = fixed.trace(images()), fixed.trace(images(), look=(2, 3))
    assert plain.seen == {} and set(trace.seen) == {2, 3}
    assert torch.equal(trace.prediction, plain.prediction)
    first, second = trace.seen[2], trace.seen[3]
    evidence = trace.evidence["pruned_tokens_2"]
    assert isinstance(evidence, PruneEvidence)
    assert first.tokens is None and torch.equal(first.scores, evidence.class_scores)
    assert second.tokens is not None and second.scores.shape == (2, 5, 13)
    for image in range(2):
        gone = trace.outputs["pruned_tokens_2"][image].tolist()
        assert second.tokens[image].tolist() == [token for token in range(16) if token not in gone]
    (published, *_) = PublishedModel(fixed.model, small_recipe(prune=((3, 1),))).run(
        [images()], [{"dtop": {3: float("inf")}}] * 2
    )
    dense = fixed_of(small_recipe()).trace(images(), look=(3,)).seen[3]
    torch.testing.assert_close(dense.scores.amax(dim=1)[0], published.stages[3].confidence)


@torch.no_grad()
def test_decisions_can_be_imposed_and_the_own_ones_are_still_told() -> None:
    fixed = fixed_of(small_recipe(prune=BOTH, num_shared=1))
    own = fixed.trace(images())
    imposed = {
        "shared_windows": torch.tensor([[3], [0]], dtype=torch.int32),
        "pruned_tokens_2": torch.tensor([[0, 1, 2], [10, 11, 12]], dtype=torch.int32),
    }
    found = fixed.trace(images(), imposed=imposed)
    assert torch.equal(found.outputs["shared_windows"], own.outputs["shared_windows"])
    assert found.departed[0].tokens.tolist() == imposed["pruned_tokens_2"].tolist()
    assert not torch.isin(imposed["pruned_tokens_2"][0], found.outputs["pruned_tokens_3"][0]).any()
    assert not torch.allclose(found.prediction, own.prediction, atol=1e-3)
    same = {name: own.outputs[name] for name in fixed.decisions}
    torch.testing.assert_close(fixed.trace(images(), imposed=same).prediction, own.prediction)


@torch.no_grad()
def test_the_models_own_weights_run() -> None:
    """No copies, positions apart: when weights change, the fixed form changes with them."""
    recipe = small_recipe(prune=BOTH, num_shared=1)
    fixed = fixed_of(recipe)
    own = {id(value) for value in fixed.model.parameters()}
    assert {id(value) for value in fixed.parameters()} <= own
    before = fixed(images())[0]
    fixed.model.decode_head.input_proj.weight.neg_()
    assert not torch.allclose(fixed(images())[0], before, atol=1e-3)

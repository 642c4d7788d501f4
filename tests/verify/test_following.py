"""Near ties in merges: an execution that decided them differently is followed, and held to everything else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from edgeexport.fixed.model import FixedModel, fixed_from_model
from edgeexport.fixed.weights import model_from_recipe
from edgeexport.inputs.batches import ImageBatch
from edgeexport.recipe.validation import recipe_from_config
from edgeexport.verify.parity import batch_comparison, followed_reference, reference_of, runtime_comparison
from edgeexport.verify.reference import compare_outputs

HOST = {"type": "timm", "img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 3, "num_heads": 2, "num_classes": 5}


class Contrary:
    """Executes the fixed model, but decides block 1 otherwise: other sources, in another order, to other destinations."""

    name, version = "contrary", "1"

    def __init__(self, fixed: FixedModel, error: float = 0.0) -> None:
        self.fixed, self.error = fixed, error

    def run(self, image: NDArray, extra: Mapping[str, NDArray] | None = None) -> dict[str, NDArray]:
        trace = self.fixed.trace(torch.from_numpy(image))
        names = [f"merge_{kind}_1" for kind in ("source", "target", "kept")]
        source, target, kept = (trace.outputs[name] for name in names)
        candidates = torch.cat([source, kept], dim=1).sort(dim=1, descending=True).values
        count = source.shape[1]
        decision = candidates[:, :count], target.flip(1) * 0 + 3, candidates[:, count:].sort(dim=1).values
        imposed = dict(zip(names, decision, strict=True))
        with torch.no_grad():
            followed = self.fixed.trace(torch.from_numpy(image), imposed=imposed)
        found = {name: value.numpy() for name, value in (followed.outputs | imposed).items()}
        return {**found, "logits": found["logits"] + np.float32(self.error)}


@pytest.fixture
def fixed(tmp_path: Path) -> FixedModel:
    """Without positions, so that patches of one colour are equal tokens."""
    config = {
        "model": {**HOST, "pos_embed": "none"},
        "input": {"shape": (2, 3, 32, 32)},
        "reduction": {"tome": {"r": [4, 0, 0]}},
    }
    recipe = recipe_from_config(config, tmp_path / "x.py")
    model, _ = model_from_recipe(recipe)
    return fixed_from_model(model, recipe)


def flat() -> ImageBatch:
    return ImageBatch(("grey", "dark"), np.stack([np.full((3, 32, 32), value, np.float32) for value in (0.5, -1.0)]))


def noise() -> ImageBatch:
    pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)).numpy()
    return ImageBatch(("a", "b"), pixels)


@pytest.mark.parametrize("compare", [runtime_comparison, batch_comparison])
def test_ties_are_followed(fixed: FixedModel, compare) -> None:
    found = compare(fixed, reference_of(fixed, flat()), Contrary(fixed))
    assert found.status == "passed", found.reason
    assert found.facts["near ties followed"].keys() == {"merges_1"}
    assert not any(item.equal for item in found.decisions)
    assert {item.name for item in found.outputs} == {"logits", "size", "source"}


def test_followed_reference_has_the_executions_own_merges(fixed: FixedModel) -> None:
    """What golden.npz holds: the same execution agrees with it without being followed again."""
    reference, runner = reference_of(fixed, flat()), Contrary(fixed)
    found = runner.run(reference.batch.pixels)
    assert runtime_comparison(fixed, reference, runner).status == "passed"
    followed = followed_reference(reference)
    comparison = compare_outputs("golden", "a", "b", followed, found, "logits")
    assert comparison.status == "passed", comparison.reason
    assert all(item.equal for item in comparison.decisions)
    assert compare_outputs("golden", "a", "b", reference, found, "logits").status == "not-applicable"


@pytest.mark.parametrize("compare", [runtime_comparison, batch_comparison])
def test_wrong_output_behind_a_tie_is_a_failure(fixed: FixedModel, compare) -> None:
    found = compare(fixed, reference_of(fixed, flat()), Contrary(fixed, error=0.01))
    assert found.status == "failed"
    assert "logits" in found.reason


def test_what_decides_alike_is_followed_once(fixed: FixedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    passes: list[object] = []

    def counted(*given: object, **options: object) -> object:
        passes.append(given)
        return reference_of(*given, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("edgeexport.verify.parity.reference_of", counted)
    reference = reference_of(fixed, flat())
    own = [runtime_comparison(fixed, reference, Contrary(fixed)) for _ in range(2)]
    assert len(passes) == 1 and own[0] == own[1]
    wrong = runtime_comparison(fixed, reference, Contrary(fixed, error=0.01))
    assert wrong.status == "failed", "what was computed before is no excuse for what differs"


def test_choice_that_is_no_tie_is_a_failure(fixed: FixedModel) -> None:
    found = runtime_comparison(fixed, reference_of(fixed, noise()), Contrary(fixed))
    assert found.status == "failed"
    assert "merges_1" in found.reason

"""Two exports have one key only where they are the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from edgeexport.fixed.model import FixedModel, fixed_from_model
from edgeexport.fixed.weights import model_from_recipe
from edgeexport.graph import export_key as module
from edgeexport.graph.export_key import export_key, weights_hash
from edgeexport.recipe import load_recipe


def fixed_of(recipe: Path, *options: str) -> FixedModel:
    loaded = load_recipe(recipe, options)
    return fixed_from_model(model_from_recipe(loaded)[0], loaded)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> FixedModel:
    from shared_cases import TINY_RECIPE

    path = tmp_path_factory.mktemp("key") / "tiny.py"
    path.write_text(TINY_RECIPE)
    return fixed_of(path)


SAME = ["extra_outputs=['pruned_tokens_2']", "input.preprocess.mean=[123.675, 116.28, 103.53]"]
OTHER = [
    "seed=1",
    "output='scores'",
    "tail.candidates=2",
    "reduction.dtop.prune={2: 16, 3: 9}",
    "input.shape=(2, 3, 128, 128)",
    "input.preprocess.mean=[0, 0, 0]",
    "model.backbone.norm_cfg.eps=1e-5",
]


@pytest.mark.parametrize("option", SAME)
def test_what_the_export_does_not_depend_on(option: str, tiny_recipe: Path, plain: FixedModel) -> None:
    """Another file elsewhere, too: the recipe of this test lies in a folder of its own."""
    assert export_key(fixed_of(tiny_recipe, option)) == export_key(plain)


@pytest.mark.parametrize("option", OTHER)
def test_what_the_export_depends_on(option: str, tiny_recipe: Path, plain: FixedModel) -> None:
    assert export_key(fixed_of(tiny_recipe, option)) != export_key(plain)


def test_versions_count(plain: FixedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    key = export_key(plain)
    assert len(key) == 64
    monkeypatch.setattr(module, "_versions", lambda: {"torch": "9.9"})
    assert export_key(plain) != key


@pytest.mark.parametrize("touch", ["parameter", "buffer"])
def test_every_weight_counts(touch: str) -> None:
    layer: Callable[[], torch.nn.Module] = lambda: torch.nn.BatchNorm1d(3)  # noqa: E731
    one, other = layer(), layer()
    assert weights_hash(one) == weights_hash(other)
    with torch.no_grad():
        (other.weight if touch == "parameter" else other.running_mean)[2] += 1  # type: ignore[union-attr,operator]
    assert weights_hash(one) != weights_hash(other)


def test_buffers_outside_checkpoints_and_names_count() -> None:
    def with_buffer(name: str, value: int) -> torch.nn.Module:
        found = torch.nn.Module()
        found.register_buffer(name, torch.tensor([value, 2], dtype=torch.int64), persistent=False)
        return found

    assert len({weights_hash(with_buffer(*given)) for given in [("a", 1), ("b", 1), ("a", 3)]}) == 3


def test_source_of_the_package_counts(plain: FixedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it covers is held by tests/bundle/test_source_hash.py."""
    before = export_key(plain)
    monkeypatch.setattr(module, "program_sha256", lambda: "another")
    assert export_key(plain) != before

"""Which executions of a recipe or a bundle are in reach, and why others are not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from evaluation_cases import ATM_RECIPE, CTS_RECIPE, RANDOM_RECIPE, TOME_RECIPE, written_recipe
from shared_cases import TINY_RECIPE

from edgeexport.errors import UsageError
from edgeexport.evaluation.options import EvaluationOptions
from edgeexport.evaluation.segmenter import Segmenter, segmenter_from_argument


def opened(argument: str | Path, *names: str, on_note: Callable[[str], None] = print, **options: Any) -> Segmenter:
    """With these executions."""
    return segmenter_from_argument(argument, EvaluationOptions(data=Path("data"), executions=names, **options), on_note)


def names_of(segmenter: Segmenter) -> list[str]:
    return [execution.name for execution in segmenter.executions]


def test_executions_of_a_recipe_that_prunes(tiny_recipe: Path) -> None:
    segmenter = opened(tiny_recipe)
    assert names_of(segmenter) == ["adaptive", "fixed"]
    assert segmenter.primary == "fixed"
    assert segmenter.executions[0].settings == {"thresholds": {"2": 0.9, "3": 0.9}}
    assert set(segmenter.not_run) == {"onnxruntime", "tensorrt"}
    assert segmenter.classes == tuple(f"class {i}" for i in range(6))
    assert names_of(opened(tiny_recipe, "adaptive")) == ["adaptive"]


@pytest.mark.parametrize(
    "text", [ATM_RECIPE, TOME_RECIPE, RANDOM_RECIPE, TINY_RECIPE.replace("thresh=0.9", "thresh=1.0")]
)
def test_a_published_computation_that_tells_nothing_runs_only_when_asked(text: str, tmp_path: Path) -> None:
    path = written_recipe(tmp_path, text)
    segmenter = opened(path)
    assert names_of(segmenter) == ["fixed"]
    assert "--form adaptive runs it all the same" in segmenter.not_run["adaptive"]
    assert names_of(opened(path, "fixed", "adaptive")) == ["adaptive", "fixed"]


def test_executions_of_a_bundle(tiny_bundle: Path) -> None:
    segmenter = opened(tiny_bundle)
    assert names_of(segmenter) == ["adaptive", "fixed", "onnxruntime"]
    assert segmenter.primary == "onnxruntime"
    assert (segmenter.kind, segmenter.recipe) == ("bundle", "tiny")
    assert segmenter.not_run == {
        "tensorrt": "evaluate runs torch and ONNX Runtime; edgeexport verify checks an engine against the same outputs"
    }
    alone = opened(tiny_bundle, "onnxruntime")
    assert names_of(alone) == ["onnxruntime"]
    assert alone.model_sha256 == segmenter.model_sha256


def test_torch_executions_of_a_bundle_need_its_weights(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reason = "the weights w.pth are not in the bundle; give them with --checkpoint"
    monkeypatch.setattr("edgeexport.evaluation.segmenter.why_no_original", lambda bundle, files: reason)
    segmenter = opened(tiny_bundle)
    assert names_of(segmenter) == ["onnxruntime"]
    assert segmenter.not_run["fixed"] == segmenter.not_run["adaptive"] == reason
    with pytest.raises(UsageError, match=r"--form fixed \| the weights w\.pth"):
        opened(tiny_bundle, "fixed")


def test_model_hash_follows_weights_and_recipe_but_not_the_place(tiny_recipe: Path, tmp_path: Path) -> None:
    import torch

    from edgeexport.fixed.weights import model_from_recipe
    from edgeexport.recipe import load_recipe

    state = model_from_recipe(load_recipe(tiny_recipe))[0].state_dict()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        torch.save(state, tmp_path / name / "w.pth")
    first, second = (opened(tiny_recipe, checkpoint=tmp_path / name / "w.pth") for name in ("a", "b"))
    assert first.model_sha256 == second.model_sha256
    others = [
        opened(tiny_recipe, cfg_options=(option,), checkpoint=checkpoint).model_sha256
        for option, checkpoint in (
            ("seed=0", None),
            ("seed=1", None),
            ("reduction.dtop.prune={2: 8}", tmp_path / "a" / "w.pth"),
        )
    ]
    assert len({first.model_sha256, *others}) == 4


def test_random_weights_are_told(tiny_recipe: Path) -> None:
    notes: list[str] = []
    opened(tiny_recipe, on_note=notes.append)
    assert notes == ["random weights, seed 0: predictions mean nothing"]


def test_classes_of_the_same_name_stay_apart(tiny_recipe: Path) -> None:
    segmenter = opened(tiny_recipe, cfg_options=("classes=['road', 'bar', 'sky', 'bar', 'car', 'sign']",))
    assert segmenter.classes == ("road", "bar (1)", "sky", "bar (3)", "car", "sign")


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        (["fixd"], {}, "did you mean 'fixed'?"),
        (["onnxruntime"], {}, "--form onnxruntime | needs a bundle"),
        (["fixed", "tensorrt"], {}, "--form tensorrt | needs a bundle"),
        ([], {"thresholds": {2: 0.5}}, "after blocks 2, but the recipe prunes after blocks 2, 3"),
        ([], {"policy_checkpoint": Path("p.pth")}, "belongs to bundles"),
    ],
)
def test_requests_that_do_not_fit(names: list[str], options: dict, message: str, tiny_recipe: Path) -> None:
    with pytest.raises(UsageError) as caught:
        opened(tiny_recipe, *names, **options)
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["tome_deit_ti.py", "tome_sd_block.py", "tome_audio_vit_b.py"])
def test_models_that_do_not_segment_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="mIoU needs a segmenter"):
        opened(name)


def test_options_that_do_not_fit_a_bundle(tiny_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a bundle's recipe is fixed"):
        opened(tiny_bundle, cfg_options=("seed=1",))
    with pytest.raises(UsageError, match="leave --checkpoint out"):
        opened(tiny_bundle, checkpoint=tmp_path / "w.pth")


def test_bundle_of_a_classifier_is_refused(tiny_bundle: Path, tmp_path: Path) -> None:
    import json
    import shutil

    shutil.copytree(tiny_bundle, tmp_path / "b")
    manifest = json.loads((tmp_path / "b" / "manifest.json").read_text())
    manifest["outputs"][0]["name"] = "logits"
    (tmp_path / "b" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UsageError, match="its prediction is 'logits'; mIoU needs a segmenter"):
        opened(tmp_path / "b")


def test_cts_recipe_has_both_executions(tmp_path: Path) -> None:
    assert names_of(opened(written_recipe(tmp_path, CTS_RECIPE))) == ["adaptive", "fixed"]

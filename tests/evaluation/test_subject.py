"""Which forms of a recipe or a bundle are in reach, and why others are not."""

from __future__ import annotations

from pathlib import Path

import pytest
from evaluation_cases import ATM_RECIPE, CTS_RECIPE, TOME_RECIPE, written_recipe
from shared_cases import TINY_RECIPE

from edgeexport.errors import UsageError
from edgeexport.evaluation.subject import EvaluationSubject, subject_from_argument


def form_names(subject: EvaluationSubject) -> list[str]:
    return [form.name for form in subject.forms]


def test_forms_of_a_recipe_that_prunes(tiny_recipe: Path) -> None:
    subject = subject_from_argument(tiny_recipe)
    assert form_names(subject) == ["adaptive", "fixed"]
    assert subject.primary == "fixed"
    assert subject.forms[0].settings == {"thresholds": {"2": 0.9, "3": 0.9}}
    assert set(subject.not_run) == {"onnxruntime", "tensorrt"}
    assert subject.classes == tuple(f"class {i}" for i in range(6))
    assert form_names(subject_from_argument(tiny_recipe, names=["adaptive"])) == ["adaptive"]


@pytest.mark.parametrize("text", [ATM_RECIPE, TOME_RECIPE, TINY_RECIPE.replace("thresh=0.9", "thresh=1.0")])
def test_an_adaptive_form_that_tells_nothing_runs_only_when_asked(text: str, tmp_path: Path) -> None:
    path = written_recipe(tmp_path, text)
    subject = subject_from_argument(path)
    assert form_names(subject) == ["fixed"]
    assert "--form adaptive runs it all the same" in subject.not_run["adaptive"]
    assert form_names(subject_from_argument(path, names=["fixed", "adaptive"])) == ["adaptive", "fixed"]


def test_forms_of_a_bundle(tiny_bundle: Path) -> None:
    subject = subject_from_argument(tiny_bundle)
    assert form_names(subject) == ["adaptive", "fixed", "onnxruntime"]
    assert subject.primary == "onnxruntime"
    assert (subject.kind, subject.recipe) == ("bundle", "tiny")
    assert subject.not_run == {
        "tensorrt": "evaluate runs torch and ONNX Runtime; edgeexport verify checks an engine against the same outputs"
    }
    alone = subject_from_argument(tiny_bundle, names=["onnxruntime"])
    assert form_names(alone) == ["onnxruntime"]
    assert alone.model_sha256 == subject.model_sha256


def test_torch_forms_of_a_bundle_need_its_weights(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reason = "the weights w.pth are not in the bundle; give them with --checkpoint"
    monkeypatch.setattr("edgeexport.evaluation.subject.why_no_original", lambda bundle, files: reason)
    subject = subject_from_argument(tiny_bundle)
    assert form_names(subject) == ["onnxruntime"]
    assert subject.not_run["fixed"] == subject.not_run["adaptive"] == reason
    with pytest.raises(UsageError, match=r"--form fixed \| the weights w\.pth"):
        subject_from_argument(tiny_bundle, names=["fixed"])


def test_model_hash_follows_weights_and_recipe_but_not_the_place(tiny_recipe: Path, tmp_path: Path) -> None:
    import torch

    from edgeexport.fixed.weights import model_from_recipe
    from edgeexport.recipe import load_recipe

    state = model_from_recipe(load_recipe(tiny_recipe))[0].state_dict()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        torch.save(state, tmp_path / name / "w.pth")
    first, second = (subject_from_argument(tiny_recipe, checkpoint=tmp_path / name / "w.pth") for name in ("a", "b"))
    assert first.model_sha256 == second.model_sha256
    others = [
        subject_from_argument(tiny_recipe, cfg_options=[option], checkpoint=checkpoint).model_sha256
        for option, checkpoint in (
            ("seed=0", None),
            ("seed=1", None),
            ("reduction.dtop.prune={2: 8}", tmp_path / "a" / "w.pth"),
        )
    ]
    assert len({first.model_sha256, *others}) == 4


def test_random_weights_are_told(tiny_recipe: Path) -> None:
    notes: list[str] = []
    subject_from_argument(tiny_recipe, on_note=notes.append)
    assert notes == ["random weights, seed 0: predictions mean nothing"]


def test_classes_of_the_same_name_stay_apart(tiny_recipe: Path) -> None:
    subject = subject_from_argument(tiny_recipe, cfg_options=["classes=['road', 'bar', 'sky', 'bar', 'car', 'sign']"])
    assert subject.classes == ("road", "bar (1)", "sky", "bar (3)", "car", "sign")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"names": ["fixd"]}, "did you mean 'fixed'?"),
        ({"names": ["onnxruntime"]}, "--form onnxruntime | needs a bundle"),
        ({"names": ["fixed", "tensorrt"]}, "--form tensorrt | needs a bundle"),
        ({"thresholds": {2: 0.5}}, "after blocks 2, but the recipe prunes after blocks 2, 3"),
        ({"policy_checkpoint": Path("p.pth")}, "belongs to bundles"),
    ],
)
def test_requests_that_do_not_fit(options: dict, message: str, tiny_recipe: Path) -> None:
    with pytest.raises(UsageError) as caught:
        subject_from_argument(tiny_recipe, **options)
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["tome_deit_ti.py", "tome_sd_block.py", "tome_audio_vit_b.py"])
def test_models_that_do_not_segment_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="mIoU needs a segmenter"):
        subject_from_argument(name)


def test_options_that_do_not_fit_a_bundle(tiny_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a bundle's recipe is fixed"):
        subject_from_argument(tiny_bundle, cfg_options=["seed=1"])
    with pytest.raises(UsageError, match="leave --checkpoint out"):
        subject_from_argument(tiny_bundle, checkpoint=tmp_path / "w.pth")


def test_bundle_of_a_classifier_is_refused(tiny_bundle: Path, tmp_path: Path) -> None:
    import json
    import shutil

    shutil.copytree(tiny_bundle, tmp_path / "b")
    manifest = json.loads((tmp_path / "b" / "manifest.json").read_text())
    manifest["outputs"][0]["name"] = "logits"
    (tmp_path / "b" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UsageError, match="its prediction is 'logits'; mIoU needs a segmenter"):
        subject_from_argument(tmp_path / "b")


def test_cts_recipe_has_both_forms(tmp_path: Path) -> None:
    assert form_names(subject_from_argument(written_recipe(tmp_path, CTS_RECIPE))) == ["adaptive", "fixed"]

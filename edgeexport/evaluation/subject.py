"""What is evaluated: a recipe with its weights, or a bundle; and which forms of it are in reach."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeexport.bundle import Bundle, open_bundle
from edgeexport.errors import UsageError, nearest_hint
from edgeexport.evaluation.forms import AdaptiveForm, FixedForm, Form, OnnxRuntimeForm
from edgeexport.fixed.weights import segvit_from_recipe
from edgeexport.hosts.segvit.spec import SegVitSpec
from edgeexport.recipe import load_recipe
from edgeexport.recipe.of_bundle import GivenWeights, original_recipe, why_no_original
from edgeexport.recipe.schema import Recipe

__all__ = [
    "FORMS",
    "EvaluationSubject",
    "forms_of_bundle",
    "forms_of_recipe",
    "stage_thresholds",
    "subject_from_argument",
]

FORMS = ("adaptive", "fixed", "onnxruntime", "tensorrt")
_NEEDS_BUNDLE = "needs a bundle: build one with edgeexport build, then evaluate that"
_NO_ENGINE = "evaluate runs torch and ONNX Runtime; edgeexport verify checks an engine against the same outputs"


@dataclass(frozen=True)
class EvaluationSubject:
    """A segmenter to evaluate.

    Attributes:
        name: Of the recipe, or of the bundle's folder.
        recipe: Name of the recipe.
        kind: 'recipe' or 'bundle'.
        weights: `edgeexport.fixed.weights.WeightsOrigin` as a dict.
        classes: One name per class, all different.
        forms: In reach and asked for; not empty.
        not_run: Form -> why not.
        model_sha256: Over weights, recipe and, of a bundle, its graph.
    """

    name: str
    recipe: str
    kind: str
    weights: Mapping[str, Any]
    classes: tuple[str, ...]
    forms: tuple[Form, ...]
    not_run: Mapping[str, str]
    model_sha256: str

    @property
    def primary(self) -> str:
        """The form whose figures stand for the subject: what is deployed, as far as it was run."""
        order = ("onnxruntime", "fixed", "adaptive")
        return min((form.name for form in self.forms), key=order.index)


def subject_from_argument(
    subject: str | Path,
    *,
    names: Sequence[str] | None = None,
    thresholds: Mapping[int, float] | None = None,
    checkpoint: Path | None = None,
    policy_checkpoint: Path | None = None,
    cfg_options: Sequence[str] = (),
    on_note: Callable[[str], None] = lambda text: None,
) -> EvaluationSubject:
    """Opens a bundle folder, or loads a recipe and its weights.

    Args:
        subject: A folder is a bundle; anything else a recipe's path or name.
        names: Forms to run, of `FORMS`; None: all in reach, each computation once.
        thresholds: Block -> theta, instead of the recipe's, for the adaptive form.
        checkpoint, policy_checkpoint: Weights; of a bundle, the files that it was built from.
        cfg_options: ``key=value`` replacements in a recipe.
        on_note: Called with what the reader should know.

    Raises:
        UsageError: Not a segmenter, an unknown form, or one that was asked for and is out of reach.
        RecipeError, CheckpointError, BundleError, BuildError: See there.
    """
    names = names or None
    for name in names or ():
        if name not in FORMS:
            raise UsageError(f"--form {name}", "no form of this name", nearest_hint(name, FORMS))
    if Path(subject).is_dir():
        if cfg_options:
            raise UsageError("--cfg-options", "a bundle's recipe is fixed", "evaluate the recipe, or build it anew")
        files = GivenWeights(checkpoint, policy_checkpoint)
        found = _bundle_subject(open_bundle(Path(subject)), files, names, thresholds)
    else:
        if policy_checkpoint is not None:
            remedy = "for a recipe give --cfg-options reduction.cts.policy_checkpoint=FILE"
            raise UsageError("--policy-checkpoint", "belongs to bundles", remedy)
        found = _recipe_subject(load_recipe(subject, cfg_options, checkpoint), names, thresholds)
    _check_forms(found, names)
    if found.weights["origin"] == "random":
        on_note(str(found.weights["statement"]))
    return found


def forms_of_recipe(
    recipe: Recipe, model: Any, *, names: Sequence[str] | None = None, thresholds: Mapping[int, float] | None = None
) -> tuple[tuple[Form, ...], dict[str, str]]:
    """The torch forms of a recipe's `SegVit` in reach, and why others are not.

    Raises:
        UsageError: ``thresholds`` do not fit.
    """
    forms: list[Form] = []
    not_run: dict[str, str] = {}
    limits = stage_thresholds(recipe, thresholds)
    if names is None and (reason := _why_adaptive_tells_nothing(limits)):
        not_run["adaptive"] = f"{reason}; --form adaptive runs it all the same"
    elif names is None or "adaptive" in names:
        forms.append(AdaptiveForm(model, recipe, limits))
    if names is None or "fixed" in names:
        forms.append(FixedForm(model, recipe))
    return tuple(forms), not_run | {name: _NEEDS_BUNDLE for name in ("onnxruntime", "tensorrt")}


def forms_of_bundle(
    bundle: Bundle,
    files: GivenWeights,
    *,
    names: Sequence[str] | None = None,
    thresholds: Mapping[int, float] | None = None,
) -> tuple[tuple[Form, ...], dict[str, str]]:
    """A bundle's forms in reach, and why others are not; the torch forms need its weights.

    Raises:
        UsageError: ``files`` or ``thresholds`` do not fit. BundleError, BuildError: See `OnnxRuntimeForm`.
    """
    forms: tuple[Form, ...] = ()
    not_run: dict[str, str] = {}
    files.check(bundle.manifest["weights"])
    if names is None or "adaptive" in names or "fixed" in names:
        reason = why_no_original(bundle, files)
        if reason:
            not_run = {"adaptive": reason, "fixed": reason}
        else:
            recipe = original_recipe(bundle, files)
            forms, not_run = forms_of_recipe(recipe, segvit_from_recipe(recipe)[0], names=names, thresholds=thresholds)
            del not_run["onnxruntime"]
    if names is None or "onnxruntime" in names:
        forms = (*forms, OnnxRuntimeForm(bundle))
    return forms, not_run | {"tensorrt": _NO_ENGINE}


def stage_thresholds(recipe: Recipe, thresholds: Mapping[int, float] | None = None) -> dict[int, float]:
    """Block -> theta for every stage that the recipe prunes at: the heads' own (1 where one states none), or those given.

    Raises:
        UsageError: Thresholds for other blocks than those that the recipe prunes at.
    """
    dtop = recipe.reduction.dtop
    stages = [block for block, k in dtop.prune if k] if dtop is not None else []
    if thresholds is None:
        stated = {head.stages[0]: head.threshold for head in recipe.segvit.auxiliary_heads}
        return {block: 1.0 if (theta := stated[block]) is None else theta for block in stages}
    if sorted(thresholds) != stages:
        given, expected = (", ".join(map(str, blocks)) or "none" for blocks in (sorted(thresholds), stages))
        problem = f"given for the stages after blocks {given}, but the recipe prunes after blocks {expected}"
        raise UsageError("thresholds", problem, "give one for each of these")
    return {block: float(thresholds[block]) for block in stages}


def _why_adaptive_tells_nothing(thresholds: Mapping[int, float]) -> str:
    """Why the adaptive form would repeat other figures; empty where it does not."""
    if not thresholds:
        return "nothing is pruned by threshold here, so this would be the fixed form again"
    open_ended = [str(block) for block, theta in thresholds.items() if theta >= 1]
    if open_ended:
        return f"the auxiliary head after block {', '.join(open_ended)} has thresh=1, which no confidence exceeds"
    return ""


def _recipe_subject(
    recipe: Recipe, names: Sequence[str] | None, thresholds: Mapping[int, float] | None
) -> EvaluationSubject:
    if not isinstance(recipe.model, SegVitSpec):
        raise _not_a_segmenter(recipe.path.name, f"model.type = {recipe.model.type!r}")
    model, origin = segvit_from_recipe(recipe)
    forms, not_run = forms_of_recipe(recipe, model, names=names, thresholds=thresholds)
    weights = origin.as_dict()
    num_classes = recipe.segvit.decode_head.num_classes
    classes = _class_names(recipe.classes, num_classes)
    digest = _model_sha256(weights, recipe.text, "")
    return EvaluationSubject(recipe.name, recipe.name, "recipe", weights, classes, forms, not_run, digest)


def _bundle_subject(
    bundle: Bundle, files: GivenWeights, names: Sequence[str] | None, thresholds: Mapping[int, float] | None
) -> EvaluationSubject:
    manifest = bundle.manifest
    name = bundle.path.resolve().name
    prediction = manifest["outputs"][0]
    if prediction["name"] not in ("class_map", "scores"):
        raise _not_a_segmenter(name, f"its prediction is {prediction['name']!r}")
    forms, not_run = forms_of_bundle(bundle, files, names=names, thresholds=thresholds)
    head = manifest["recipe"]["model"]["decode_head"]
    classes = _class_names(tuple(manifest["classes"]), int(head["num_classes"]))
    weights = manifest["weights"]
    digest = _model_sha256(weights, manifest["recipe"], manifest["files"]["model.onnx"])
    return EvaluationSubject(name, bundle.name, "bundle", weights, classes, forms, not_run, digest)


def _check_forms(found: EvaluationSubject, names: Sequence[str] | None) -> None:
    """A form that was asked for by name and cannot be run is an error, not a gap."""
    for name in names or ():
        if name in found.not_run:
            raise UsageError(f"--form {name}", found.not_run[name], "")


def _not_a_segmenter(where: str, found: str) -> UsageError:
    return UsageError(
        where, f"{found}; mIoU needs a segmenter that gives class maps", "give a SegViT recipe or its bundle"
    )


def _class_names(names: tuple[str, ...], num_classes: int) -> tuple[str, ...]:
    """One different name for every class: data sets have classes that share a name."""
    listed = names or tuple(f"class {index}" for index in range(num_classes))
    return tuple(f"{name} ({i})" if listed.count(name) > 1 else name for i, name in enumerate(listed))


def _model_sha256(weights: Mapping[str, Any], text: Mapping[str, Any], graph: str) -> str:
    """Where the checkpoint lies does not matter; its hash is among the weights."""
    recipe = {key: value for key, value in text.items() if key != "checkpoint"}
    facts = [dict(weights), recipe, graph]
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()

"""What is evaluated: the segmenter of a recipe with its weights, or of a bundle; and which executions of it are in reach."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeexport.bundle import Bundle, open_bundle
from edgeexport.bundle.original import GivenWeights, why_no_original
from edgeexport.config.place import Place
from edgeexport.errors import BundleError, RecipeError, UsageError, nearest_hint
from edgeexport.evaluation.executions import (
    EXECUTIONS,
    Execution,
    FixedExecution,
    OnnxRuntimeExecution,
    PublishedExecution,
    ReusedPolicyExecution,
    SegmenterModel,
    segmenter_model,
)
from edgeexport.evaluation.options import EvaluationOptions
from edgeexport.evaluation.segmenter_spec import class_count, is_segmenter, stated_thresholds
from edgeexport.fixed.original import checked_recipe
from edgeexport.recipe import load_recipe
from edgeexport.recipe.labels import LabelsSpec, labels_from_config
from edgeexport.recipe.schema import Recipe

__all__ = ["Segmenter", "segmenter_from_argument", "stage_thresholds"]

_NEEDS_BUNDLE = "needs a bundle: build one with edgeexport build, then evaluate that"
_NO_ENGINE = "evaluate runs torch and ONNX Runtime; edgeexport verify checks an engine against the same outputs"
_DEPLOYED_FIRST = ("onnxruntime", "fixed", "adaptive")


@dataclass(frozen=True)
class Segmenter:
    """A segmenter to evaluate.

    Attributes:
        name: Of the recipe, or of the bundle's folder.
        recipe: Name of the recipe.
        kind: 'recipe' or 'bundle'.
        weights: `edgeexport.fixed.weights.WeightsOrigin` as a dict.
        classes: One name per class, all different.
        executions: In reach and asked for; not empty.
        not_run: Name of an execution -> why not.
        model_sha256: Over weights, recipe and, of a bundle, its graph.
        labels: What is known of the data set's annotations.
    """

    name: str
    recipe: str
    kind: str
    weights: Mapping[str, Any]
    classes: tuple[str, ...]
    executions: tuple[Execution, ...]
    not_run: Mapping[str, str]
    model_sha256: str
    labels: LabelsSpec

    @property
    def primary(self) -> str:
        """The execution whose figures stand for the segmenter: what is deployed, as far as it was run."""
        names = {execution.name for execution in self.executions}
        return next(name for name in _DEPLOYED_FIRST if name in names)


def segmenter_from_argument(
    argument: str | Path, options: EvaluationOptions, on_note: Callable[[str], None] = lambda text: None
) -> Segmenter:
    """Opens a bundle folder, or loads a recipe and its weights.

    Args:
        argument: A folder is a bundle; anything else a recipe's path or name.
        options: The executions and weights that are asked for.
        on_note: Called with what the reader should know.

    Raises:
        UsageError: Not a segmenter, an unknown execution, or one that was asked for and is out of reach.
        RecipeError, CheckpointError, BundleError, BuildError: See there.
    """
    for name in options.executions:
        if name not in EXECUTIONS:
            raise UsageError(f"--form {name}", "no form of this name", nearest_hint(name, EXECUTIONS))
    if options.policy_every and not (Path(argument).is_dir() and _asked(options, "onnxruntime")):
        every = " ".join(f"--policy-every {n}" for n in options.policy_every)
        raise UsageError(every, "is of a bundle in ONNX Runtime", "give a bundle, and no --form or --form onnxruntime")
    if Path(argument).is_dir():
        if options.cfg_options:
            raise UsageError("--cfg-options", "a bundle's recipe is fixed", "evaluate the recipe, or build it anew")
        segmenter = _segmenter_of_bundle(open_bundle(Path(argument)), options)
    else:
        if options.policy_checkpoint is not None:
            remedy = "for a recipe give --cfg-options reduction.cts.policy_checkpoint=FILE"
            raise UsageError("--policy-checkpoint", "belongs to bundles", remedy)
        segmenter = _segmenter_of_recipe(load_recipe(argument, options.cfg_options, options.checkpoint), options)
    for name in options.executions:  # one that was asked for by name and cannot be run is an error, not a gap
        if name in segmenter.not_run:
            raise UsageError(f"--form {name}", segmenter.not_run[name], "")
    if segmenter.weights["origin"] == "random":
        on_note(str(segmenter.weights["statement"]))
    return segmenter


def stage_thresholds(recipe: Recipe, thresholds: Mapping[int, float] | None = None) -> dict[int, float]:
    """Block -> theta for every stage that the recipe prunes at: the heads' own (1 where one states none), or those given.

    Raises:
        UsageError: Thresholds for other blocks than those that the recipe prunes at.
    """
    dtop = recipe.reductions.get("dtop")
    stages = [block for block, k in dtop.prune if k] if dtop is not None else []
    if thresholds is None:
        stated = stated_thresholds(recipe)
        return {block: 1.0 if (theta := stated[block]) is None else theta for block in stages}
    if sorted(thresholds) != stages:
        given, expected = (", ".join(map(str, blocks)) or "none" for blocks in (sorted(thresholds), stages))
        problem = f"given for the stages after blocks {given}, but the recipe prunes after blocks {expected}"
        raise UsageError("thresholds", problem, "give one for each of these")
    return {block: float(thresholds[block]) for block in stages}


def _segmenter_of_recipe(recipe: Recipe, options: EvaluationOptions) -> Segmenter:
    if not is_segmenter(recipe):
        raise _not_a_segmenter(recipe.path.name, f"model.type = {recipe.model.type!r}")
    model, origin = segmenter_model(recipe)
    executions, not_run = _torch_executions(recipe, model, options)
    weights = origin.as_dict()
    return Segmenter(
        name=recipe.name,
        recipe=recipe.name,
        kind="recipe",
        weights=weights,
        classes=_class_names(recipe.classes, class_count(recipe)),
        executions=executions,
        not_run=not_run | {name: _NEEDS_BUNDLE for name in ("onnxruntime", "tensorrt")},
        model_sha256=_model_sha256(weights, recipe.text, ""),
        labels=recipe.labels,
    )


def _segmenter_of_bundle(bundle: Bundle, options: EvaluationOptions) -> Segmenter:
    bundle.refuse_several()
    manifest = bundle.manifest
    name = bundle.path.resolve().name
    prediction = manifest["outputs"][0]
    if prediction["name"] not in ("class_map", "scores"):
        raise _not_a_segmenter(name, f"its prediction is {prediction['name']!r}")
    files = GivenWeights(options.checkpoint, options.policy_checkpoint)
    files.check(manifest["weights"])
    executions: tuple[Execution, ...] = ()
    not_run: dict[str, str] = {}
    if _asked(options, "adaptive") or _asked(options, "fixed"):
        if reason := why_no_original(bundle, files):
            not_run = {"adaptive": reason, "fixed": reason}
        else:
            recipe = checked_recipe(bundle, files)
            executions, not_run = _torch_executions(recipe, segmenter_model(recipe)[0], options)
    if _asked(options, "onnxruntime"):
        executions = (*executions, OnnxRuntimeExecution(bundle))
        reused = [ReusedPolicyExecution(bundle, every) for every in sorted(set(options.policy_every)) if every != 1]
        executions = (*executions, *reused)
    num_classes = manifest["recipe"]["model"]["decode_head"]["num_classes"]
    return Segmenter(
        name=name,
        recipe=bundle.name,
        kind="bundle",
        weights=manifest["weights"],
        classes=_class_names(tuple(manifest["classes"]), num_classes),
        executions=executions,
        not_run=not_run | {"tensorrt": _NO_ENGINE},
        model_sha256=_model_sha256(manifest["weights"], manifest["recipe"], _graphs_sha256(bundle)),
        labels=_labels_of_bundle(bundle),
    )


def _labels_of_bundle(bundle: Bundle) -> LabelsSpec:
    manifest = str(bundle.path / "manifest.json")
    try:
        return labels_from_config(bundle.manifest["recipe"].get("labels"), Place(manifest).at("recipe").at("labels"))
    except RecipeError as error:
        raise BundleError(error.where, error.problem, "copy or build the bundle again") from None


def _graphs_sha256(bundle: Bundle) -> str:
    files, policy = bundle.manifest["files"], bundle.policy
    return files["model.onnx"] + ("" if policy is None else files[policy.graph("model.onnx")])


def _torch_executions(
    recipe: Recipe, model: SegmenterModel, options: EvaluationOptions
) -> tuple[tuple[Execution, ...], dict[str, str]]:
    """Those in reach, and why others are not."""
    executions: list[Execution] = []
    not_run: dict[str, str] = {}
    thresholds = stage_thresholds(recipe, options.thresholds)
    if (windows := recipe.facts.windows) > 1:
        not_run["adaptive"] = (
            f"counts by threshold differ between the {windows} windows of an image, and have no cost of one"
        )
    elif not options.executions and (reason := _why_thresholds_tell_nothing(thresholds)):
        not_run["adaptive"] = f"{reason}; --form adaptive runs it all the same"
    elif _asked(options, "adaptive"):
        executions.append(PublishedExecution(model, recipe, thresholds))
    if _asked(options, "fixed"):
        executions.append(FixedExecution(model, recipe))
    return tuple(executions), not_run


def _asked(options: EvaluationOptions, name: str) -> bool:
    return not options.executions or name in options.executions


def _why_thresholds_tell_nothing(thresholds: Mapping[int, float]) -> str:
    """Why the published computation would repeat other figures; empty where it does not."""
    if not thresholds:
        return "nothing is pruned by threshold here, so this would be the fixed form again"
    open_ended = [str(block) for block, theta in thresholds.items() if theta >= 1]
    if open_ended:
        return f"the auxiliary head after block {', '.join(open_ended)} has thresh=1, which no confidence exceeds"
    return ""


def _not_a_segmenter(where: str, what: str) -> UsageError:
    return UsageError(
        where, f"{what}; mIoU needs a segmenter that gives class maps", "give a SegViT recipe or its bundle"
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

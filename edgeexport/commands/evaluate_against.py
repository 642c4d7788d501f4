"""What `edgeexport evaluate --against` does: the two models, and then `edgeexport.evaluation.against`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from edgeexport.backends.engine import runner_from_bundle
from edgeexport.backends.onnxruntime import OnnxRuntimeRunner
from edgeexport.bundle import Bundle, open_bundle
from edgeexport.bundle.original import GivenWeights, why_no_original
from edgeexport.commands.build import exported_graphs
from edgeexport.errors import UsageError
from edgeexport.evaluation.against import AgainstOptions, Beside, OnProgress, RunnableForm, fidelity_on_photos
from edgeexport.evaluation.dense_beside import DENSE, beside_dense, check_reduced, digest_of, layout_of
from edgeexport.evaluation.fidelity_result import Fidelity
from edgeexport.fixed.model import fixed_from_model
from edgeexport.fixed.original import checked_recipe
from edgeexport.fixed.schedule import dense_recipe
from edgeexport.fixed.weights import model_from_recipe
from edgeexport.graph.weights_apart import weights_folder
from edgeexport.recipe import load_recipe

__all__ = ["evaluate_against"]

_CHOICES = "give 'dense', or the folder of a bundle"


def evaluate_against(
    subject: str | Path,
    against: str,
    options: AgainstOptions,
    *,
    checkpoint: Path | None = None,
    policy_checkpoint: Path | None = None,
    cfg_options: Sequence[str] = (),
    on_progress: OnProgress = lambda done, total, name: None,
    on_note: Callable[[str], None] = lambda text: None,
) -> Fidelity:
    """Compares a reduced model with its dense form, or a bundle with another, on photographs.

    Bundles run in ONNX Runtime, for which the dense model is exported in the bundle's precision; recipes in torch.

    Args:
        subject: A bundle's folder, or a recipe's path or name, or a model's name.
        against: 'dense', or of a bundle the folder of another one.
        options: On which photographs.
        checkpoint, policy_checkpoint: Weights, instead of the recipe's; of a bundle, those that it was built from.
        cfg_options: See `load_recipe`.

    Raises:
        UsageError: What is compared is the same, or cannot be; see `fidelity_on_photos` for the rest.
        RecipeError, CheckpointError, BundleError, BuildError: See there.
    """
    if Path(subject).is_dir():
        if cfg_options:
            raise UsageError("--cfg-options", "a bundle's recipe is fixed", "evaluate the recipe, or build it anew")
        beside = _of_bundle(open_bundle(Path(subject)), against, GivenWeights(checkpoint, policy_checkpoint))
    else:
        if policy_checkpoint is not None:
            remedy = "for a recipe give --cfg-options reduction.cts.policy_checkpoint=FILE"
            raise UsageError("--policy-checkpoint", "belongs to bundles", remedy)
        if against != DENSE:
            raise UsageError(
                f"--against {against}", "a recipe is compared with its dense model", "give --against dense"
            )
        recipe = load_recipe(subject, cfg_options, checkpoint)
        beside = beside_dense(recipe, *model_from_recipe(recipe))
    if beside.weights["origin"] == "random":
        on_note(str(beside.weights["statement"]))
    return fidelity_on_photos(beside, options, on_progress=on_progress, on_note=on_note)


def _of_bundle(bundle: Bundle, against: str, files: GivenWeights) -> Beside:
    bundle.refuse_several()
    manifest, tokens = bundle.manifest, bundle.json("tokens.json")
    files.check(manifest["weights"])
    reduced = runner_from_bundle(bundle, "none", extra_outputs=[])
    totals = tokens["totals"]
    if against == DENSE:
        other: RunnableForm = _dense_of_bundle(bundle, files)
        against_macs, known = totals["dense_macs"], DENSE
    else:
        beside = _other_bundle(bundle, against)
        other = runner_from_bundle(beside, "none", extra_outputs=[])
        against_macs, known = beside.json("tokens.json")["totals"]["macs"], beside.manifest["files"]["model.onnx"]
    logits = next((entry["shape"][-1] for entry in manifest["outputs"] if entry["name"] == "logits"), 0)
    return Beside(
        name=bundle.path.resolve().name,
        kind="bundle",
        recipe=bundle.name,
        weights=manifest["weights"],
        against=against,
        runtime=f"ONNX Runtime {reduced.version}",
        macs=totals["macs"],
        against_macs=against_macs,
        input=bundle.input,
        layout=layout_of(tokens),
        classes=tuple(manifest["classes"]),
        num_classes=logits,
        sha256=digest_of(manifest["files"]["model.onnx"], known),
        reduced=reduced,
        other=other,
    )


def _dense_of_bundle(bundle: Bundle, files: GivenWeights) -> OnnxRuntimeRunner:
    if reason := why_no_original(bundle, files):
        remedy = "or give --against the folder of a bundle of the dense model"
        raise UsageError(f"{bundle.path.name} --against dense", reason, remedy)
    recipe = checked_recipe(bundle, files)
    check_reduced(recipe)
    model, origin = model_from_recipe(recipe)
    graphs = exported_graphs(
        fixed_from_model(model, dense_recipe(recipe)), origin, precision=str(bundle.manifest["precision"])
    )
    dense = graphs.with_functions
    return OnnxRuntimeRunner(dense.SerializeToString(), weights=weights_folder(dense))


def _other_bundle(bundle: Bundle, against: str) -> Bundle:
    if not Path(against).is_dir():
        raise UsageError(f"--against {against}", "is neither 'dense' nor a folder", _CHOICES)
    other = open_bundle(Path(against))
    if other.input != bundle.input:
        problem = f"takes another input than {bundle.path.name}: {other.input} against {bundle.input}"
        raise UsageError(f"--against {against}", problem, "compare bundles that see a photograph alike")
    if other.manifest["files"]["model.onnx"] == bundle.manifest["files"]["model.onnx"]:
        raise UsageError(f"--against {against}", f"is the same model as {bundle.path.name}", _CHOICES)
    return other

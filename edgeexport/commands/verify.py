"""`edgeexport verify`: a bundle against its golden outputs, and, where torch is at hand, against the original again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from edgeexport.backends.contract import BUILT_HERE
from edgeexport.backends.engine import engine_record, runner_from_bundle
from edgeexport.backends.layer_types import precision_problem
from edgeexport.backends.runner import Runner
from edgeexport.bundle import Bundle, json_bytes, open_bundle, sha256_of
from edgeexport.bundle.files import disk_errors, write_file
from edgeexport.bundle.original import GivenWeights, why_no_original
from edgeexport.bundle.places import check_writable
from edgeexport.cost.kernel_plan import KERNELS_FILE, read_plans
from edgeexport.errors import BundleError, ParityError, UsageError
from edgeexport.inputs.batches import image_batches
from edgeexport.inputs.photos import photos_in_folder, shipped_photos
from edgeexport.report.refresh import refresh_report
from edgeexport.verify.compare import IMAGES_NEEDED, Comparison
from edgeexport.verify.golden_check import golden_comparisons
from edgeexport.verify.prompt_golden import golden_prompts

__all__ = ["Executed", "VerifyResult", "verify_bundle"]

_SCHEMA = "edgeexport.verify/1"
_GRAPH, _VERIFY = "model.onnx", "verify.json"
_UNWRITABLE = "make the bundle writable"
_WITHOUT_TORCH = ("not installed", "does not load")  # of `why_no_original`


@dataclass(frozen=True)
class Executed:
    """What a verification is about.

    Attributes:
        engine: The engine's file, or 'model.onnx'.
        engine_sha256: Of the engine, as engine.json has it; None for model.onnx, whose hash the manifest has.
        manifest_sha256: Of manifest.json.
        engine_not_run: The engine's file, where there is one and model.onnx was executed instead; else empty.
    """

    engine: str
    engine_sha256: str | None
    manifest_sha256: str
    engine_not_run: str = ""


@dataclass(frozen=True)
class VerifyResult:
    """All comparisons made, and why the original was not run where it was not (empty if it was).

    ``runner`` names what was executed and its version: the bundle's engine, or model.onnx in ONNX Runtime. ``executed`` is
    that file and the hashes by which to tell later whether it is still there; None where it ran elsewhere: verify.json,
    which was brought here from there, has them.
    """

    bundle: Bundle
    comparisons: tuple[Comparison, ...]
    original_not_run: str
    runner: str
    executed: Executed | None = None

    @property
    def status(self) -> str:
        """'passed', 'failed', or 'incomplete': nothing differs, but a check could be made on too few images or not at all."""
        if any(item.status == "failed" for item in self.comparisons):
            return "failed"
        passed = {item.check: 0 for item in self.comparisons}
        for item in self.comparisons:
            passed[item.check] += item.status == "passed"
        return "incomplete" if self.original_not_run or min(passed.values(), default=0) < IMAGES_NEEDED else "passed"

    @property
    def explanation(self) -> str:
        """What was checked and what was not, where the status is 'incomplete'; empty otherwise."""
        if self.status != "incomplete":
            return ""
        passed = [item for item in self.comparisons if item.status == "passed"]
        checked = f"{len(passed)} of {len(self.comparisons)} comparisons passed and none failed"
        if not self.original_not_run:
            return f"{checked}; every check needs {IMAGES_NEEDED} different batches on which it passes"
        known = "with what the original model computed at the build (golden.npz)"
        if any(words in self.original_not_run for words in _WITHOUT_TORCH):
            return (
                f"{checked}, {known}: all that can be checked without torch, and what is expected on a device. "
                "Not checked: the original model itself, again; `edgeexport verify` does that where the bundle was built"
            )
        return f"{checked}, {known}. Not checked: the original model itself, again"

    def as_dict(self) -> dict[str, object]:
        """JSON-ready form; verify.json in the bundle."""
        executed = _executed_elsewhere(self.bundle) if self.executed is None else asdict(self.executed)
        return {
            "schema": _SCHEMA,
            "status": self.status,
            "explanation": self.explanation,
            "runner": self.runner,
            **executed,
            "original_not_run": self.original_not_run,
            "comparisons": [item.as_dict() for item in self.comparisons],
        }


def verify_bundle(
    path: Path,
    *,
    data: Path | None = None,
    checkpoint: Path | None = None,
    policy_checkpoint: Path | None = None,
    engine: str = "auto",
    on_stage: Callable[[str], None] = lambda name: None,
) -> VerifyResult:
    """Checks what a bundle executes here and writes verify.json into it.

    Args:
        path: The bundle.
        data: Folder of images to compare on, instead of the photographs that ship with edgeexport.
        checkpoint: The model's weights, where they are not seeded; must be the file that the bundle was built from.
        policy_checkpoint: Likewise the policy network's, where they had a file of their own.
        engine: 'auto' checks the bundle's engine if there is one, 'none' model.onnx in ONNX Runtime.
        on_stage: Called with each stage's name as it starts.

    Raises:
        BundleError: Damaged bundle, or an engine that is damaged or from elsewhere.
        ImageError, UsageError: ``data`` or ``checkpoint`` does not fit.
        ParityError: A comparison failed; verify.json is written all the same.
    """
    bundle = open_bundle(path)
    check_writable(path / _VERIFY, _UNWRITABLE)
    if bundle.prompt is not None:
        for option, given in (
            ("--data", data),
            ("--checkpoint", checkpoint),
            ("--policy-checkpoint", policy_checkpoint),
        ):
            if given is not None:
                problem = "the original of a language model is compared at its build alone"
                raise UsageError(option, problem, "leave it out; its golden prompts are run")
        return _verify_graphs(bundle, engine, on_stage)
    runner = runner_from_bundle(bundle, engine)
    _check_precision(bundle, engine)
    executed = f"{runner.name} {runner.version}"
    on_stage(f"golden outputs, {executed}")
    comparisons = golden_comparisons(bundle, runner)
    photos = shipped_photos() if data is None else photos_in_folder(data)
    files = GivenWeights(checkpoint, policy_checkpoint)
    files.check(bundle.manifest["weights"])
    reason = why_no_original(bundle, files)
    if reason and data is not None:
        raise UsageError("--data", f"comparing on new images needs the original model: {reason}", "leave --data out")
    if not reason:
        on_stage("original model")
        comparisons += _original_comparisons(bundle, runner, photos, files, every=data is not None)
    result = VerifyResult(bundle, tuple(comparisons), reason, executed, _executed(bundle, engine))
    with disk_errors(path / _VERIFY, _UNWRITABLE):
        write_file(path / _VERIFY, json_bytes(result.as_dict()))
    refresh_report(path, on_stage)
    failed = [item for item in comparisons if item.status == "failed"]
    if failed:
        raise ParityError(
            f"{path}: {failed[0].check} on {', '.join(failed[0].images)}", failed[0].reason, "see verify.json"
        )
    return result


def _verify_graphs(bundle: Bundle, engine: str, on_stage: Callable[[str], None]) -> VerifyResult:
    """Of a bundle of several graphs: what they, or their engines, compute of the golden prompts."""
    on_stage("golden prompts")
    _check_precision(bundle, engine)
    comparisons, runtime = golden_prompts(bundle, engine)
    reason = "the graphs alone were run: the original of a language model is compared at its build"
    result = VerifyResult(bundle, tuple(comparisons), reason, runtime, _executed(bundle, engine))
    with disk_errors(bundle.path / _VERIFY, _UNWRITABLE):
        write_file(bundle.path / _VERIFY, json_bytes(result.as_dict()))
    refresh_report(bundle.path, on_stage)
    failed = [item for item in comparisons if item.status == "failed"]
    if failed:
        raise ParityError(f"{bundle.path}: {failed[0].check}", failed[0].reason, "see verify.json")
    return result


def _check_precision(bundle: Bundle, engine: str) -> None:
    """Holds what was built to the precision that the bundle names: the layers of its engine and the kernels of its plan.

    Raises:
        BundleError: FP16 was asked for, and nothing was built in it.
    """
    precision, plans = str(bundle.manifest["precision"]), read_plans(bundle.path)
    own = None if plans is None else plans.own(precision)
    if own is not None and (wrong := precision_problem(precision, own.product_dtypes)):
        raise BundleError(str(bundle.path / KERNELS_FILE), wrong, "build the bundle again")
    record = engine_record(bundle) if engine == "auto" else None
    if record is not None and (wrong := precision_problem(precision, record.options.get("layers_by_type"))):
        raise BundleError(str(bundle.path / "engine.json"), wrong, "build the engine again")


def _executed(bundle: Bundle, engine: str) -> Executed:
    """What `runner_from_bundle` takes for the same arguments; of several graphs the last one stands for all."""
    manifest = sha256_of(bundle.path / "manifest.json")
    graph = bundle.listed[-1].graph(_GRAPH) if bundle.listed else _GRAPH
    try:
        record = engine_record(bundle)
    except BundleError:  # damaged: with --engine none that does not matter, and otherwise it was refused before
        record = None
    if record is None:
        return Executed(graph, None, manifest)
    file, sha256 = next(iter(record.files.items()))
    if engine != "auto" or record.provenance != BUILT_HERE:
        return Executed(graph, None, manifest, engine_not_run=file)
    return Executed(file, sha256, manifest)


def _executed_elsewhere(bundle: Bundle) -> dict[str, object]:
    if not (bundle.path / _VERIFY).is_file():
        return {}
    content = bundle.json(_VERIFY)
    return {field.name: content.get(field.name) for field in fields(Executed)}


def _original_comparisons(
    bundle: Bundle, runner: Runner, photos: list[Path], files: GivenWeights, *, every: bool
) -> list[Comparison]:
    # Imported here: everything above also runs on a device, where there is no torch.
    from edgeexport.fixed.model import fixed_from_model
    from edgeexport.fixed.original import checked_recipe
    from edgeexport.fixed.weights import model_from_recipe
    from edgeexport.verify.parity import reference_of
    from edgeexport.verify.suite import run_parity
    from edgeexport.verify.tolerances import tolerances_of

    recipe = checked_recipe(bundle, files)
    model, _ = model_from_recipe(recipe)
    fixed = fixed_from_model(model, recipe)
    declared = [item["name"] for item in [*bundle.manifest["outputs"], *bundle.manifest["inner_outputs"]]]
    foreign = [name for name in declared if name not in fixed.output_names]
    if foreign:
        where, problem = f"{bundle.path / 'manifest.json'}: recipe", f"is of a model without {', '.join(foreign)}"
        raise BundleError(where, problem, "copy or build the bundle again")
    batches = image_batches(recipe.input, photos)
    tolerances = tolerances_of(bundle.manifest["precision"])
    references = (reference_of(fixed, batch, tolerances=tolerances) for batch in batches)
    return run_parity(fixed, runner, references, every=every)

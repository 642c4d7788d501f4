"""`edgeexport verify`: a bundle against its golden outputs, and, where torch is at hand, against the original again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgeexport.backends.contract import Runner
from edgeexport.bundle import Bundle, json_bytes, open_bundle
from edgeexport.engine import runner_from_bundle
from edgeexport.errors import BuildError, ImageError, ParityError, UsageError
from edgeexport.images import shipped_photos
from edgeexport.original import GivenWeights, original_recipe, why_no_original
from edgeexport.report.refresh import refresh_report
from edgeexport.verify.batches import image_batches
from edgeexport.verify.compare import IMAGES_NEEDED, Comparison
from edgeexport.verify.golden_check import golden_comparisons

__all__ = ["VerifyResult", "photos_in_folder", "verify_bundle"]

_IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}


@dataclass(frozen=True)
class VerifyResult:
    """All comparisons made, and why the original was not run where it was not (empty if it was).

    ``runner`` names what was executed and its version: the bundle's engine, or model.onnx in ONNX Runtime.
    """

    bundle: Bundle
    comparisons: tuple[Comparison, ...]
    original_not_run: str
    runner: str

    @property
    def status(self) -> str:
        """'passed', 'failed', or 'incomplete': nothing differs, but a check could be made on too few images or not at all."""
        if any(item.status == "failed" for item in self.comparisons):
            return "failed"
        passed = {item.check: 0 for item in self.comparisons}
        for item in self.comparisons:
            passed[item.check] += item.status == "passed"
        return "incomplete" if self.original_not_run or min(passed.values(), default=0) < IMAGES_NEEDED else "passed"

    def as_dict(self) -> dict[str, object]:
        """JSON-ready form; verify.json in the bundle."""
        return {
            "schema": "edgeexport.verify/1",
            "status": self.status,
            "runner": self.runner,
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
    runner = runner_from_bundle(bundle, engine)
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
    result = VerifyResult(bundle, tuple(comparisons), reason, executed)
    try:
        (path / "verify.json").write_bytes(json_bytes(result.as_dict()))
    except OSError as error:
        raise BuildError(
            str(path / "verify.json"), f"cannot be written ({error})", "make the bundle writable"
        ) from error
    refresh_report(path, on_stage)
    failed = [item for item in comparisons if item.status == "failed"]
    if failed:
        raise ParityError(
            f"{path}: {failed[0].check} on {', '.join(failed[0].images)}", failed[0].reason, "see verify.json"
        )
    return result


def photos_in_folder(folder: Path) -> list[Path]:
    """Image files of a folder, by name.

    Raises:
        ImageError: No folder, or no image in it.
    """
    if not folder.is_dir():
        raise ImageError(str(folder), "no such folder", "give a folder of images")
    photos = sorted(path for path in folder.iterdir() if path.suffix.lower() in _IMAGE_SUFFIXES)
    if not photos:
        raise ImageError(
            str(folder), "holds no image", f"expected files ending in {', '.join(sorted(_IMAGE_SUFFIXES))}"
        )
    return photos


def _original_comparisons(
    bundle: Bundle, runner: Runner, photos: list[Path], files: GivenWeights, *, every: bool
) -> list[Comparison]:
    # Imported here: everything above also runs on a device, where there is no torch.
    from edgeexport.freeze.fixed import fixed_from_model
    from edgeexport.models.weights import model_from_recipe
    from edgeexport.verify.parity import reference_of
    from edgeexport.verify.suite import run_parity
    from edgeexport.verify.tolerances import tolerances_of

    recipe = original_recipe(bundle, files)
    model, _ = model_from_recipe(recipe)
    fixed = fixed_from_model(model, recipe)
    batches = image_batches(recipe.input, photos)
    tolerances = tolerances_of(bundle.manifest["precision"])
    references = (reference_of(fixed, batch, tolerances=tolerances) for batch in batches)
    return run_parity(fixed, runner, references, every=every)

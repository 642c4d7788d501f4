"""`edgeexport verify`: a bundle against its golden outputs, and, where torch is at hand, against the original again."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeexport.backends.onnxruntime import OnnxRuntimeRunner
from edgeexport.bundle import Bundle, json_bytes, open_bundle, sha256_of
from edgeexport.errors import BuildError, ImageError, ParityError, UsageError
from edgeexport.images import shipped_photos
from edgeexport.verify.batches import image_batches
from edgeexport.verify.compare import IMAGES_NEEDED, Comparison
from edgeexport.verify.golden_check import golden_comparisons

__all__ = ["VerifyResult", "photos_in_folder", "verify_bundle"]

_IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}


@dataclass(frozen=True)
class VerifyResult:
    """All comparisons made, and why the original was not run where it was not (empty if it was)."""

    bundle: Bundle
    comparisons: tuple[Comparison, ...]
    original_not_run: str

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
            "original_not_run": self.original_not_run,
            "comparisons": [item.as_dict() for item in self.comparisons],
        }


def verify_bundle(
    path: Path,
    *,
    data: Path | None = None,
    checkpoint: Path | None = None,
    policy_checkpoint: Path | None = None,
    on_stage: Callable[[str], None] = lambda name: None,
) -> VerifyResult:
    """Checks a bundle in ONNX Runtime and writes verify.json into it.

    Args:
        path: The bundle.
        data: Folder of images to compare on, instead of the photographs that ship with edgeexport.
        checkpoint: The model's weights, where they are not seeded; must be the file that the bundle was built from.
        policy_checkpoint: Likewise the policy network's, where they had a file of their own.
        on_stage: Called with each stage's name as it starts.

    Raises:
        BundleError: Damaged bundle. ImageError, UsageError: ``data`` or ``checkpoint`` does not fit.
        ParityError: A comparison failed; verify.json is written all the same.
    """
    bundle = open_bundle(path)
    on_stage("golden outputs")
    runner = OnnxRuntimeRunner(path / "model.onnx", extra_outputs=bundle.inner_outputs)
    comparisons = golden_comparisons(bundle, runner)
    photos = shipped_photos() if data is None else photos_in_folder(data)
    files = _Weights(checkpoint, policy_checkpoint)
    files.check(bundle.manifest["weights"])
    reason = _why_no_original(bundle, files)
    if reason and data is not None:
        raise UsageError("--data", f"comparing on new images needs the original model: {reason}", "leave --data out")
    if not reason:
        on_stage("original model")
        comparisons += _original_comparisons(bundle, runner, photos, files, every=data is not None)
    result = VerifyResult(bundle, tuple(comparisons), reason)
    try:
        (path / "verify.json").write_bytes(json_bytes(result.as_dict()))
    except OSError as error:
        raise BuildError(
            str(path / "verify.json"), f"cannot be written ({error})", "make the bundle writable"
        ) from error
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


@dataclass(frozen=True)
class _Weights:
    """Files given for a bundle's weights."""

    checkpoint: Path | None
    policy: Path | None

    def check(self, origin: Mapping[str, Any]) -> None:
        """Refuses a file that the bundle was not built from.

        Raises:
            UsageError: Another file, or a file where the bundle has none.
        """
        for option, given, name, expected in (
            ("--checkpoint", self.checkpoint, origin["file"], origin["sha256"]),
            ("--policy-checkpoint", self.policy, origin["policy_file"], origin["policy_sha256"]),
        ):
            if given is None:
                continue
            if expected is None:
                raise UsageError(f"{option} {given}", f"the bundle has {origin['statement']}", f"leave {option} out")
            if not given.is_file():
                raise UsageError(f"{option} {given}", "no such file", f"give the path of {name}")
            found = sha256_of(given)
            if found != expected:
                raise UsageError(
                    f"{option} {given}",
                    f"sha256 {found[:12]}..., the bundle was built from {expected[:12]}...",
                    f"give the {name} that the bundle was built from",
                )


def _why_no_original(bundle: Bundle, files: _Weights) -> str:
    missing = [name for name in ("torch", "timm", "mmengine") if not _installed(name)]
    if missing:
        return f"{', '.join(missing)} not installed (pip install 'edgeexport[export]')"
    weights = bundle.manifest["weights"]
    if weights["policy_file"] is not None and files.policy is None:
        return f"the weights {weights['policy_file']} are not in the bundle; give them with --policy-checkpoint"
    if weights["origin"] == "checkpoint" and files.checkpoint is None:
        return f"the weights {weights['file']} are not in the bundle; give them with --checkpoint"
    return ""


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ImportError:  # an import hook may refuse it
        return False


def _original_comparisons(
    bundle: Bundle, runner: OnnxRuntimeRunner, photos: list[Path], files: _Weights, *, every: bool
) -> list[Comparison]:
    # Imported here: everything above also runs on a device, where there is no torch.
    from edgeexport.freeze.fixed import fixed_from_model
    from edgeexport.models.weights import model_from_recipe
    from edgeexport.recipe.validation import recipe_from_config
    from edgeexport.verify.parity import reference_of
    from edgeexport.verify.suite import run_parity

    config: dict[str, Any] = _with_integer_blocks(bundle.manifest["recipe"])
    config["checkpoint"] = None
    if files.policy is not None:
        cts = {**config["reduction"]["cts"], "policy_checkpoint": str(files.policy.absolute())}
        config["reduction"] = {**config["reduction"], "cts": cts}
    recipe = recipe_from_config(config, bundle.path.absolute() / "manifest.json", "", files.checkpoint)
    model, _ = model_from_recipe(recipe)
    fixed = fixed_from_model(model, recipe)
    batches = image_batches(recipe.input, photos)
    return run_parity(fixed, runner, (reference_of(fixed, batch) for batch in batches), every=every)


def _with_integer_blocks(recipe: dict[str, Any]) -> dict[str, Any]:
    """JSON turns the block numbers of ``prune`` into strings; turns them back, without changing the argument."""
    result = dict(recipe)
    reduction = dict(result.get("reduction") or {})
    dtop = reduction.get("dtop")
    if dtop and dtop.get("prune"):
        reduction["dtop"] = {**dtop, "prune": {int(block): k for block, k in dtop["prune"].items()}}
    result["reduction"] = reduction
    return result

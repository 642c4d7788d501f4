"""`edgeexport calibrate --delay`: from a recipe and images to a proposal and its evidence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from edgeexport.bundle import refuse_link_of_bundle
from edgeexport.bundle.places import check_writable
from edgeexport.calibration.delay import DelayEvidence, check_mergeable, delay_evidence, mergeable_model
from edgeexport.calibration.delay_files import DelayFiles, write_delay_files
from edgeexport.calibration.options import CalibrationOptions
from edgeexport.errors import UsageError
from edgeexport.evaluation.output_folder import UNWRITABLE
from edgeexport.inputs.batches import image_batches
from edgeexport.inputs.photos import photos_in_folder, shipped_photos
from edgeexport.recipe import load_recipe

__all__ = ["DelayCalibration", "calibrate_delay"]

_FOR_COUNTS = (
    "coverage", "max_miou_drop", "macs", "latency_ms", "latency_table", "split", "threshold", "limit", "reduce_zero_label",
    "restart", "min_cosine", "max_drop", "image_suffix", "label_suffix",
)  # fmt: skip


@dataclass(frozen=True)
class DelayCalibration:
    """A proposal for DSM's delay."""

    recipe: str
    weights: str
    random_weights: bool
    evidence: DelayEvidence
    files: DelayFiles

    def as_dict(self) -> dict[str, object]:
        """JSON-ready form."""
        written = {name: None if path is None else str(path) for name, path in vars(self.files).items()}
        return {"recipe": self.recipe, "weights": self.weights, **self.evidence.as_dict(), "files": written}


def calibrate_delay(
    recipe: str | Path, options: CalibrationOptions, on_stage: Callable[[str], None] = lambda name: None
) -> DelayCalibration:
    """Measures token similarity and proposes the number of blocks that should not merge.

    Args:
        recipe: Path or name of a shipped recipe, of a timm host.
        options: Its ``data`` is a folder of images, or None: the photographs that ship with edgeexport. Files go to
            ``calibration/<recipe>`` by default.
        on_stage: Called with each stage's name as it starts.

    Raises:
        UsageError: An option is for counts, the recipe's model is none that DSM merges in, or a file cannot be written.
        RecipeError, CheckpointError, ImageError: See there.
    """
    if misplaced := options.given(*_FOR_COUNTS):
        raise UsageError(misplaced[0], "is not for --delay", f"leave out {misplaced[0]} or --delay")
    on_stage("read recipe")
    loaded = load_recipe(recipe, options.cfg_options, options.checkpoint)
    loaded = replace(loaded, input=replace(loaded.input, batch=1))  # so that no image is counted twice
    check_mergeable(loaded, f"calibrate --delay {recipe}")
    photos = shipped_photos() if options.data is None else photos_in_folder(options.data)
    folder = options.out_dir if options.out_dir is not None else Path("calibration") / loaded.name
    refuse_link_of_bundle(folder, "--out-dir")
    check_writable(folder / f"{loaded.name}_delay.py", UNWRITABLE, UsageError)
    on_stage("load weights")
    model, origin = mergeable_model(loaded)
    evidence = delay_evidence(model, image_batches(loaded.input, photos), on_stage)
    files = write_delay_files(loaded, evidence, origin.statement, folder, options.cfg_options)
    return DelayCalibration(loaded.name, origin.statement, origin.origin == "random", evidence, files)

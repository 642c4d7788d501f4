"""`edgeexport calibrate --delay`: from a recipe and images to a proposal and its evidence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from timm.models.vision_transformer import VisionTransformer

from edgeexport.calibration.delay import DelayEvidence, delay_evidence
from edgeexport.calibration.delay_files import DelayFiles, write_delay_files
from edgeexport.errors import UsageError
from edgeexport.fixed.weights import model_from_recipe
from edgeexport.hosts.timm_vit.spec import TimmVitSpec
from edgeexport.inputs.batches import image_batches
from edgeexport.inputs.photos import photos_in_folder, shipped_photos
from edgeexport.recipe import load_recipe

__all__ = ["DelayCalibration", "calibrate_delay"]


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
        written = {"evidence": self.files.evidence, "plot": self.files.plot, "recipe": self.files.recipe}
        return {
            "recipe": self.recipe,
            "weights": self.weights,
            **self.evidence.as_dict(),
            "files": {name: None if path is None else str(path) for name, path in written.items()},
        }


def calibrate_delay(
    recipe: str | Path,
    *,
    data: Path | None = None,
    checkpoint: Path | None = None,
    cfg_options: Sequence[str] = (),
    out_dir: Path | None = None,
    on_stage: Callable[[str], None] = lambda name: None,
) -> DelayCalibration:
    """Measures token similarity and proposes the number of blocks that should not merge.

    Args:
        recipe: Path or name of a shipped recipe, of a timm host.
        data: Folder of images; None: the photographs that ship with edgeexport.
        checkpoint: Instead of the recipe's.
        cfg_options: ``key=value`` replacements in the recipe.
        out_dir: Where the files go; None: ``calibration/<recipe>``.
        on_stage: Called with each stage's name as it starts.

    Raises:
        UsageError: The recipe's model is none that DSM merges in, or a file cannot be written.
        RecipeError, CheckpointError, ImageError: See there.
    """
    on_stage("read recipe")
    loaded = load_recipe(recipe, cfg_options, checkpoint)
    loaded = replace(loaded, input=replace(loaded.input, batch=1))  # so that no image is counted twice
    if not isinstance(loaded.model, TimmVitSpec) or loaded.model.frames is not None:
        clips = isinstance(loaded.model, TimmVitSpec)
        raise UsageError(
            f"calibrate --delay {recipe}",
            f"DSM merges in timm hosts on images, found {'clips' if clips else f'model.type = {loaded.model.type!r}'}",
            "give a recipe such as dsm_deit_s.py",
        )
    photos = shipped_photos() if data is None else photos_in_folder(data)
    on_stage("load weights")
    model, origin = model_from_recipe(loaded)
    assert isinstance(model, VisionTransformer)
    evidence = delay_evidence(model, loaded.input, image_batches(loaded.input, photos), on_stage)
    folder = out_dir if out_dir is not None else Path("calibration") / loaded.name
    files = write_delay_files(loaded, evidence, origin.statement, folder, cfg_options)
    return DelayCalibration(loaded.name, origin.statement, origin.origin == "random", evidence, files)

"""Pictures to measure on, out of wheels: photographs of many kinds, and textiles in folders of classes."""

from __future__ import annotations

from pathlib import Path

from examples.saliency.wheels import PHOTOGRAPHS, TEXTILES, fetched

__all__ = ["NAMES", "photographs", "textiles"]

NAMES = (
    "astronaut.png", "brick.png", "camera.png", "chelsea.png", "clock_motion.png", "coffee.png", "coins.png", "grass.png",
    "gravel.png", "hubble_deep_field.jpg", "ihc.png", "moon.png", "motorcycle_left.png", "page.png", "retina.jpg", "rocket.jpg",
    "text.png",
)  # fmt: skip
"""Of scikit-image's pictures those that a camera, a telescope, a microscope or a scanner took, each scene once."""


def photographs(folder: Path) -> Path:
    """A folder with `NAMES`, below ``folder``."""
    source, chosen = fetched(PHOTOGRAPHS, folder) / "skimage" / "data", folder / "photographs"
    for name in NAMES:
        _linked(source / name, chosen / name)
    return chosen


def textiles(folder: Path) -> Path:
    """A folder with the folders nominal, local and global of textiles, below ``folder``."""
    return fetched(TEXTILES, folder) / "conformal_clip_data" / "data" / "textile_images" / "simulated"


def _linked(source: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    if not place.exists():
        place.symlink_to(source.resolve())

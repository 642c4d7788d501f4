"""The form of what goes into a model. Imports nothing but the standard library."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CROP_MODES", "INTERPOLATIONS", "Crop", "InputSpec", "Preprocess"]

CROP_MODES = ("center", "squash", "pad")
INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos")


@dataclass(frozen=True)
class Crop:
    """How a photograph is brought to the model's size: as timm's evaluation does it.

    It is resized to the model's sides divided by ``pct`` (rounded down): with ``mode`` 'center' until the shorter side fits,
    keeping its proportions, with 'squash' both sides by themselves. The middle of that is cut out. With 'pad' nothing is: it is
    resized until all of it fits, keeping its proportions, and stands at the top left, as mmsegmentation pads; ``pct`` is 1.
    ``interpolation`` is one of `INTERPOLATIONS`.
    """

    pct: float
    mode: str
    interpolation: str


@dataclass(frozen=True)
class Preprocess:
    """Normalisation inside the graph: ``(pixel - mean) / std`` per channel, in 0..255 units.

    With it the graph takes uint8 (B, H, W, 3). ``bgr_to_rgb`` reverses the channels first, as mmseg does
    for images that OpenCV decoded; files that `edgeexport run` opens are fed in the order this implies.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    bgr_to_rgb: bool


@dataclass(frozen=True)
class InputSpec:
    """Fixed input: ``batch`` images of ``height`` x ``width`` pixels, or what takes an image's place.

    - images: uint8 (B, H, W, 3) with ``preprocess``, else float32 (B, channels, H, W); one channel is a spectrogram;
    - clips: ``frames`` is set, float32 (B, channels, frames, H, W);
    - features of a diffusion model: ``context`` is set, float32 (B, H W, channels) on a latent grid of H x W, and a second
      input, the text's float32 (B, tokens, width) with ``context = (tokens, width)``.

    ``crop`` says how a photograph is brought to that size; None: squashed, bilinear.
    """

    batch: int
    height: int
    width: int
    preprocess: Preprocess | None
    channels: int = 3
    frames: int | None = None
    context: tuple[int, int] | None = None
    crop: Crop | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the graph's first input."""
        if self.preprocess is not None:
            return (self.batch, self.height, self.width, self.channels)
        if self.context is not None:
            return (self.batch, self.height * self.width, self.channels)
        if self.frames is not None:
            return (self.batch, self.channels, self.frames, self.height, self.width)
        return (self.batch, self.channels, self.height, self.width)

    @property
    def is_photo(self) -> bool:
        """Whether the model takes a colour image, so that a photograph can be predicted."""
        return self.channels == 3 and self.frames is None and self.context is None

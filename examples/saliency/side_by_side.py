"""One photograph, and its saliency by a dense and by a reduced bundle, in one picture.

python -m examples.saliency.side_by_side DENSE_BUNDLE REDUCED_BUNDLE PHOTO --out FILE.png
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image

from edgeexport.bundle import open_bundle
from edgeexport.evaluation.fidelity import TokenLayout, figures_of
from edgeexport.inputs.framing import seen_part
from edgeexport.inputs.photos import open_photo
from edgeexport.pictures.heat_map import draw_heat_map
from edgeexport.pictures.predictor import Predictor

__all__ = ["beside_each_other"]


def beside_each_other(pictures: Sequence[Image.Image]) -> Image.Image:
    """Left to right on white, aligned at the top."""
    joined = Image.new("RGB", (sum(item.width for item in pictures), max(item.height for item in pictures)), "white")
    left = 0
    for item in pictures:
        joined.paste(item, (left, 0))
        left += item.width
    return joined


def main(
    dense: Annotated[Path, typer.Argument(help="Bundle of the dense model with the decoder.")],
    reduced: Annotated[Path, typer.Argument(help="Bundle of the reduced one.")],
    photo: Annotated[Path, typer.Argument(help="An image file.")],
    out: Annotated[Path, typer.Option(help="The picture.")] = Path("saliency.png"),
) -> None:
    """Draws the photograph with both maps, and prints how far they agree."""
    image = open_photo(photo)
    pictures, maps = [], []
    for label, path in (("dense", dense), ("reduced", reduced)):
        bundle = open_bundle(path)
        predictor = Predictor(bundle, threads=0)
        (result,) = predictor.results([image])
        if result.heat is None:
            raise SystemExit(f"{path}: gives no map; build it with head=dict(onnx=..., input='features')")
        work = f"{label}: {bundle.json('tokens.json')['totals']['macs'] / 1e9:.2f} GMAC without the decoder"
        seen = seen_part(image, bundle.input)
        pictures.append(
            draw_heat_map(seen, result.heat, name=predictor.prediction, title=work, notice=predictor.notice)
        )
        maps.append(result.heat[None])
        typer.echo(work)
        if predictor.pays is not None:
            typer.echo(predictor.pays.text)
    layout = TokenLayout(prefix=1, class_token=True)
    found = figures_of({"map": np.asarray(maps[1])}, {"map": np.asarray(maps[0])}, layout)
    typer.echo(", ".join(f"{name} {value:.4f}" for name, value in found.items()))
    out.parent.mkdir(parents=True, exist_ok=True)
    beside_each_other(pictures).save(out)
    typer.echo(f"written: {out}")


if __name__ == "__main__":
    typer.run(main)

"""What merging does to a real model: DINOv2 ViT-S/14 and its saliency decoder, dense beside ToMe, DSM and random merging.

Features, maps and neighbours are measured in torch on photographs that anyone can fetch; kernels and a Jetson's time come
out of builds, and the builds' graphs are timed in turns on one thread. What was measured is kept, and the same call goes on.
"""

from __future__ import annotations

import itertools
import os
import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.evidence_flips import flips_on_photos
from benchmarks.pairing import latencies_ms, ratio_summary
from edgeexport.bundle import Bundle, open_bundle
from edgeexport.commands.build import build, exported_graphs
from edgeexport.errors import BundleError
from edgeexport.evaluation.against import AgainstOptions, Beside, RunnableForm, fidelity_on_photos
from edgeexport.evaluation.dense_beside import Remembered, beside_dense, layout_of
from edgeexport.evaluation.fidelity_result import Fidelity
from edgeexport.fixed.model import fixed_from_model
from edgeexport.fixed.tokens import tokens_json
from edgeexport.fixed.weights import WeightsOrigin, model_from_recipe
from edgeexport.graph.export_cache import FOLDER_VARIABLE
from edgeexport.inputs.photos import input_from_photo, open_photo, photos_in_folder, shipped_photos
from edgeexport.recipe import load_recipe
from edgeexport.recipe.schema import Recipe
from examples.saliency.photographs import photographs, textiles
from examples.saliency.weights import MODEL, OPTIONS, prepared
from examples.saliency.wheels import PHOTOGRAPHS, SALIENCY, TEXTILES

__all__ = ["BUILT", "DECIDING", "METHODS", "RATES", "measure_evidence"]

METHODS, RATES = ("tome", "dsm", "random"), (4, 8, 12, 16)
BUILT = (8, 16)
DECIDING = ("tome", "dsm")
"""Of `METHODS` those that look at the image, so that rounding may decide otherwise."""
TARGET = "orin"
_BASE = (*OPTIONS, "output=features")

Say = Callable[[str], None]


def measure_evidence(
    folder: Path, limit: int, built: Sequence[int], rounds: int, threads: int, on_stage: Say, flips: int = 0
) -> dict[str, Any]:
    """Measures every method at every rate.

    Args:
        folder: For wheels, weights, builds and what was measured.
        limit: Textiles, as many of each class; 0: none.
        built: Rates that are built as well, for kernels and time.
        rounds: Paired rounds of timing; 0 times nothing.
        threads: Of torch.
        on_stage: Called with each stage's name as it starts.
        flips: Photographs on which float16's decisions are held to float32's, at the rates that are built; 0: none.

    Raises:
        EdgeExportError: See there.
    """
    torch.set_num_threads(threads)
    on_stage("wheels and weights")
    checkpoint, decoder = prepared(folder)
    dense = load_recipe(MODEL, _BASE, checkpoint)
    model, origin = model_from_recipe(dense)
    with_map = _with_map(decoder, threads)
    places: dict[str, tuple[Path, int | None]] = {"photographs": (photographs(folder), None)}
    if limit:
        places["textiles"] = (textiles(folder), limit)
    remembered: dict[bytes, dict[str, NDArray]] = {}
    rows: dict[tuple[str, int], dict[str, Any]] = {
        (method, rate): {"method": method, "r": rate} for rate in RATES for method in METHODS
    }
    for name, (data, most) in places.items():
        for (method, rate), row in rows.items():
            on_stage(f"{name}: {method} r={rate}")
            recipe = load_recipe(MODEL, (*_BASE, f"reduction.{method}.r={rate}"), checkpoint)
            beside = _beside(recipe, model, origin, with_map, remembered)
            options = AgainstOptions(data, most, folder / "measured" / f"{method}{rate}-{name}")
            row[name] = _told(fidelity_on_photos(beside, options))
            row |= {"macs": beside.macs, "dense_macs": beside.against_macs}
    os.environ.setdefault(FOLDER_VARIABLE, str((folder / "exports").resolve()))
    for method, rate in itertools.product(DECIDING, built if flips else ()):
        on_stage(f"float16: {method} r={rate}")
        recipe = load_recipe(MODEL, (*_BASE, f"reduction.{method}.r={rate}"), checkpoint)
        chosen = photos_in_folder(places["photographs"][0])[:flips]
        rows[method, rate]["float16"] = flips_on_photos(recipe, model, origin, layout_of(tokens_json(recipe)), chosen)
    bundles = {
        (method, rate): _built(method, rate, checkpoint, folder, on_stage) for rate in built for method in METHODS
    }
    for key, bundle in bundles.items():
        rows[key]["pays"] = bundle.manifest.get("pays")
    timing = None
    if bundles and rounds:
        on_stage(f"{rounds} paired rounds of {len(bundles) + 1} graphs")
        timing = _timed(bundles, fixed_dense(model, dense, origin), rounds)
    wheels = [
        {
            "name": wheel.name,
            "version": wheel.version,
            "licence": wheel.licence,
            "sha256": wheel.sha256,
            "holds": wheel.holds,
        }
        for wheel in (SALIENCY, PHOTOGRAPHS, *((TEXTILES,) if limit else ()))
    ]
    return {
        "provenance": "measured; kernels compiled, a Jetson's time predicted",
        "model": MODEL,
        "options": list(_BASE),
        "weights": origin.as_dict(),
        "wheels": wheels,
        "rows": list(rows.values()),
        "timing": timing,
    }


def fixed_dense(model: nn.Module, dense: Recipe, origin: WeightsOrigin) -> bytes:
    """The dense model's graph as a bundle would hold it."""
    return exported_graphs(fixed_from_model(model, dense), origin).with_functions.SerializeToString()


class _WithMap:
    """A form whose features the decoder turns into a map, an output ``saliency`` more."""

    def __init__(self, form: RunnableForm, decoder: onnxruntime.InferenceSession) -> None:
        self._form, self._decoder = form, decoder

    def run(self, image: NDArray) -> dict[str, NDArray]:
        """See `RunnableForm`."""
        outputs = self._form.run(image)
        (heat,) = self._decoder.run(["saliency"], {"features": outputs["features"]})
        return {**outputs, "saliency": np.asarray(heat)}


def _with_map(decoder: Path, threads: int) -> Callable[[RunnableForm], RunnableForm]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(decoder, options, providers=["CPUExecutionProvider"])
    return lambda form: _WithMap(form, session)


def _beside(
    recipe: Recipe,
    model: nn.Module,
    origin: WeightsOrigin,
    with_map: Callable[[RunnableForm], RunnableForm],
    remembered: dict[bytes, dict[str, NDArray]],
) -> Beside:
    beside = beside_dense(recipe, model, origin)
    return replace(beside, reduced=with_map(beside.reduced), other=Remembered(with_map(beside.other), remembered))


def _told(found: Fidelity) -> dict[str, Any]:
    document = found.as_dict()
    return {
        key: document[key] for key in ("images", "classes", "neighbours", "figures", "accuracy", "runtime", "versions")
    }


def _built(method: str, rate: int, checkpoint: Path, folder: Path, on_stage: Say) -> Bundle:
    path = folder / "bundles" / f"{method}{rate}"
    try:
        return open_bundle(path)
    except BundleError:
        on_stage(f"{method} r={rate}: build")
    options = (*_BASE, f"reduction.{method}.r={rate}")
    return build(MODEL, TARGET, cfg_options=options, checkpoint=checkpoint, work_dir=path).bundle


def _timed(bundles: dict[tuple[str, int], Bundle], dense: bytes, rounds: int) -> dict[str, Any]:
    """Milliseconds of every graph in ONNX Runtime on one thread, in turns."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    runners: dict[str, Callable[[], object]] = {}
    first = next(iter(bundles.values()))
    image = np.stack([input_from_photo(open_photo(shipped_photos()[0]), first.input)])
    graphs: dict[str, Path | bytes] = {"dense": dense}
    graphs |= {f"{method}{rate}": bundle.path / "model.onnx" for (method, rate), bundle in bundles.items()}
    for name, graph in graphs.items():
        session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        runners[name] = partial(session.run, ["features"], {session.get_inputs()[0].name: image})
    times = latencies_ms(runners, rounds)
    return {
        "rounds": rounds,
        "threads": 1,
        "load_per_core": round(load, 1),
        "onnxruntime": onnxruntime.__version__,
        "forms": {
            name: {"ms": round(statistics.median(own), 2), "speedup": ratio_summary(times["dense"], own)}
            for name, own in times.items()
        },
    }

"""Documents with one value changed, and the commands that read them, called in this process."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from edgeexport.commands.inspect import inspect_bundle, kernels_of_bundle
from edgeexport.commands.run import predict_images
from edgeexport.comparison.compare import compare_bundles
from edgeexport.comparison.markdown import markdown_from_comparison
from edgeexport.cost.kernel_plan import DENSE, REDUCED, KernelPlan, PlannedKernel, Plans, Tensor, plans_bytes
from edgeexport.cost.pays import pays_figures
from edgeexport.profile.layers import measure_layers
from edgeexport.profile.timed_bundle import load_timed_bundle
from edgeexport.report.html import write_report
from edgeexport.terminal.comparison import print_comparison
from edgeexport.terminal.kernels import print_kernels
from edgeexport.terminal.results import print_inspection

REMOVED = object()
VALUES: tuple[Any, ...] = (
    REMOVED, None, True, -1, 0, 7, 2**31, 10**400, 0.5, 1e308, "", "x", "\n", "../../etc/passwd", "9" * 5000,
    [], [[]], [3], ["x"], {}, {"x": {}}, "\u202e", "\x1b[2J",
)  # fmt: skip
Path_ = tuple[Any, ...]


def places(value: Any, path: Path_ = ()) -> Iterator[Path_]:
    """Every place in a document, but of a list's entries the first and the last alone."""
    yield path
    if isinstance(value, dict):
        for key, item in value.items():
            yield from places(item, (*path, key))
    elif isinstance(value, list) and value:
        for index in sorted({0, len(value) - 1}):
            yield from places(value[index], (*path, index))


def form(path: Path_) -> str:
    """Places that a reader treats alike: indices and numbers in keys do not tell them apart."""
    return re.sub(r"\d+", "#", ".".join(map(str, path)))


def with_value(document: Any, path: Path_, value: Any) -> Any:
    """A copy with one value replaced or removed."""
    if not path:
        return None if value is REMOVED else value
    changed = copy.deepcopy(document)
    level = changed
    for step in path[:-1]:
        level = level[step]
    if value is REMOVED:
        del level[path[-1]]
    else:
        level[path[-1]] = value
    return changed


def write_document(bundle: Path, name: str, document: Any) -> None:
    """Writes it, and its hash into the manifest where that lists it."""
    content = document if isinstance(document, bytes) else json.dumps(document).encode()
    (bundle / name).write_bytes(content)
    if name != "manifest.json":
        manifest = json.loads((bundle / "manifest.json").read_text())
        if name in manifest["files"]:
            manifest["files"][name] = hashlib.sha256(content).hexdigest()
            (bundle / "manifest.json").write_text(json.dumps(manifest))


def write_kernels(bundle: Path) -> None:
    """Small kernel plans with every kind of row, and what the manifest says of them; TensorRT-RTX is not run."""
    x, y = (Tensor(name, "float16", (8, 16), (16, 1)) for name in "xy")
    rows = (
        PlannedKernel("product", inputs=(x,), constants=(x,), outputs=(y,), part="block_1", macs=64, dtype="float16"),
        PlannedKernel("signal", event=0),
        PlannedKernel("wait", stream=1, event=0),
        PlannedKernel("attention", stream=1, inputs=(y, y), outputs=(x,), nodes=("a",), macs=64, dtype="float16"),
        PlannedKernel("generated", "op", inputs=(x,), outputs=(y,), nodes=("m/op",), values=9, calls=("m",)),
    )
    sides = [KernelPlan(model, "fp32", "SM86", "x", rows, {"m": ("one",)}) for model in (REDUCED, DENSE)]
    plans = Plans(tuple(sides), ("no plan in fp16",))
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["pays"] = pays_figures(plans, {REDUCED: 1, DENSE: 2}, "orin", plugins=True)
    manifest["files"]["kernels.json"] = ""
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    write_document(bundle, "kernels.json", plans_bytes(plans))


def readers(bundle: Path, other: Path, folder: Path) -> dict[str, Callable[[], object]]:
    """What reads a bundle's documents, by name; all but what executes the graph for long."""
    photo = folder / "photo.png"
    Image.new("RGB", (40, 30), (90, 120, 40)).save(photo)

    def inspect() -> None:
        print_inspection(inspect_bundle(bundle))

    def compare() -> None:
        for pair in ((bundle, other), (other, bundle), (bundle, bundle)):
            compared = compare_bundles(*pair)
            print_comparison(compared)
            markdown_from_comparison(compared)
            json.dumps(compared.as_dict(), allow_nan=False)

    def predict() -> None:
        predict_images(bundle, [photo], folder / "out", engine="none", threads=1)

    def layers() -> None:
        timed = load_timed_bundle(bundle, "none")
        measure_layers(timed.bundle, timed.runner, timed.record, timed.feed.image, timed.feed.extra, runs=1)

    def engine() -> None:
        load_timed_bundle(bundle)

    return {
        "inspect": inspect, "report": lambda: write_report(bundle), "compare": compare, "predict": predict,
        "layers": layers, "engine": engine, "kernels": lambda: print_kernels(kernels_of_bundle(bundle)),
    }  # fmt: skip


READ_BY = {
    "manifest.json": ("inspect", "report", "compare", "predict", "engine"),
    "tokens.json": ("inspect", "report", "compare"),
    "work.json": ("report", "layers"),
    "kernels.json": ("report", "kernels"),
    "engine.json": ("inspect", "report", "compare", "engine"),
    "parity.json": ("report", "compare"),
    "verify.json": ("report", "compare"),
    "bench.json": ("report", "compare"),
    "evaluation.json": ("compare",),
}


def quietly(call: Callable[[], object]) -> BaseException | None:
    """What a reader raises; nothing that it prints is shown."""
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            call()
    except BaseException as error:
        return error
    return None

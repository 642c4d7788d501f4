"""Where the time goes: milliseconds of every block, head, reduction step and further part, measured, predicted or both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgeexport.cost.work import part_title
from edgeexport.report.chart import Chart, Swatch, Table, used
from edgeexport.report.column_chart import Segment, Slot, Stack, column_chart

__all__ = ["layer_chart", "layers_tag"]

Json = Mapping[str, Any]

_LEGEND = (
    Swatch("model", "blocks"),
    Swatch("reduction", "reduction: policy network, sharing, merging, pruning"),
    Swatch("heads", "heads"),
    Swatch("other", "embedding, norm, tail, other"),
)
_PREDICTED_BESIDE = Swatch("model predicted", "pale and dashed, to the right: predicted")
_KINDS = {
    "block": "model",
    **dict.fromkeys(("policy", "share", "merge", "prune"), "reduction"),
    **dict.fromkeys(("decode_head", "auxiliary_head", "head"), "heads"),
}
_LABELS = {"final_norm": "norm", "decode_head": "head"}


def layer_chart(name: str, title: str, measured: Json | None, predicted: Json | None) -> Chart:
    """Draws the parts of the model in order; the steps of a block stand on each other.

    Measured times that were divided between parts by estimate are called so wherever they are shown (`layers_tag`).

    Args:
        name: Unique on the page.
        title: What stands for the drawing where it is not seen.
        measured: bench.json's ``layers``; None for none.
        predicted: `edgeexport.cost.roofline.Prediction.as_dict`; None for none.
    """
    given = [layers for layers in (measured, predicted) if layers is not None]
    places: dict[str, dict[str, list[Json]]] = {}
    for layers, which in ((measured, "measured"), (predicted, "predicted")):
        for part in layers["parts"] if layers is not None else ():
            places.setdefault(_place(part["part"]), {}).setdefault(which, []).append(part)
    words = {"measured": "measured" if measured is None else layers_tag(measured), "predicted": "predicted"}
    slots = [
        Slot(
            label,
            tuple(
                Stack(tuple(_segments(parts.get(which, ()), words[which])), "predicted" if which == "predicted" else "")
                for which, layers in (("measured", measured), ("predicted", predicted))
                if layers is not None
            ),
        )
        for label, parts in sorted(places.items(), key=lambda item: _order(item[0]))
    ]
    kinds = [_kind(part["part"]) for layers in given for part in layers["parts"] if part["ms"]]
    legend = used(_LEGEND, kinds)
    if measured is None:
        legend = tuple(Swatch(f"{entry.kind} predicted", entry.text) for entry in legend)
    elif predicted is not None:
        legend = (*legend, _PREDICTED_BESIDE)
    totals = [f"{_name(which, words)} {layers['total_ms']:.3f} ms" for which, layers in _both(measured, predicted)]
    return Chart(
        svg=column_chart(name, title, f"One column for each part, in all {', '.join(totals)}.", "ms", slots),
        legend=legend,
        table=_table(measured, predicted),
    )


def layers_tag(layers: Json) -> str:
    """What the times of the parts in bench.json's ``layers`` are: 'measured', or 'estimate' where much was divided."""
    return "estimate" if layers["provenance"] == "estimate" else "measured"


def _table(measured: Json | None, predicted: Json | None) -> Table:
    """Every part on a line: time and share of it as measured, time as predicted, work, bytes, what bounds it."""
    rows_of: dict[str, dict[str, Json]] = {}
    for which, layers in _both(measured, predicted):
        for part in layers["parts"]:
            rows_of.setdefault(part["part"], {})[which] = part
    headers = [""]
    headers += [f"{layers_tag(measured)} ms", "share"] if measured is not None else []
    headers += ["predicted ms", "bound by"] if predicted is not None else []
    headers += ["GMAC", "MB moved"]
    rows = []
    for part, sides in rows_of.items():
        cells = [part_title(part)]
        one, other = sides.get("measured"), sides.get("predicted")
        if measured is not None:
            cells += ["", ""] if one is None else [f"{one['ms']:.3f}", f"{100 * one['share']:.1f} %"]
        if predicted is not None:
            cells += ["", ""] if other is None else [f"{other['ms']:.3f}", str(other["bound"])]
        either = one or other or {}
        rows.append((*cells, f"{either['macs'] / 1e9:,.3f}", f"{either['bytes'] / 1e6:,.1f}"))
    return Table(tuple(headers), tuple(rows))


def _segments(parts: Sequence[Json], word: str) -> list[Segment]:
    return [
        Segment(_kind(part["part"]), part["ms"], f"{part_title(part['part'])}: {part['ms']:.3f} ms {word}")
        for part in parts
    ]


def _both(measured: Json | None, predicted: Json | None) -> list[tuple[str, Json]]:
    return [
        (which, layers) for which, layers in (("measured", measured), ("predicted", predicted)) if layers is not None
    ]


def _name(which: str, words: Mapping[str, str]) -> str:
    if which != "measured":
        return which
    divided = " and divided between the parts by estimate" if words[which] == "estimate" else ""
    return f"measured{divided}, with the profiler on,"


def _place(part: str) -> str:
    """A block's number for the block and its steps, else a short name."""
    stem, _, number = part.rpartition("_")
    return number if number.isdigit() and stem else _LABELS.get(part, part)


def _kind(part: str) -> str:
    stem, _, number = part.rpartition("_")
    return _KINDS.get(stem if number.isdigit() else part, "other")


def _order(label: str) -> tuple[int, int, str]:
    """As the model runs: the parts before the blocks, the blocks, those behind them."""
    if label.isdigit():
        return 1, int(label), ""
    before, after = ("policy", "share", "embedding"), ("norm", "head", "tail", "other")
    if label in before:
        return 0, before.index(label), label
    return 2, after.index(label) if label in after else len(after), label

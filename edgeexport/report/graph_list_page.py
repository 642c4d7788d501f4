"""report.html of a bundle that lists several graphs: what they are and cost, what was compared, what was measured."""

from __future__ import annotations

from importlib import resources
from typing import Any

from jinja2 import Environment, StrictUndefined

from edgeexport.bundle import Bundle
from edgeexport.report.graph_figures import decoding_of_bundle, figures_of_graphs

__all__ = ["graph_list_page"]

_TEMPLATE = "graphs.html.j2"


def graph_list_page(bundle: Bundle) -> str:
    """The page as text; self-contained.

    Raises:
        BundleError: One of the bundle's documents is damaged.
    """

    def document(name: str) -> Any:
        return bundle.json(name) if (bundle.path / name).is_file() else None

    bench = document("bench.json")
    compared = [*_rows(document("parity.json")), *_rows(document("verify.json"))]
    text = resources.files("edgeexport.report").joinpath(_TEMPLATE).read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(text).render(
        m=bundle.manifest,
        p=bundle.prompt,
        figures=figures_of_graphs(bundle),
        decoding=[] if bundle.prompt is None else decoding_of_bundle(bundle),
        bench=bench,
        measured=_measured(bench),
        comparisons=compared,
    )


def _rows(document: Any) -> list[dict[str, Any]]:
    """The comparisons of parity.json or verify.json, with all that the page shows; none without the file."""
    empty: dict[str, Any] = {"check": "", "reference": "", "images": [], "status": "", "reason": ""}
    return [] if document is None else [{**empty, **row} for row in document["comparisons"]]


def _measured(bench: Any) -> list[tuple[str, Any]]:
    if bench is None or "rows" not in bench:
        return []
    ahead = [(name, graph["rows"]) for name, graph in bench.get("graphs", {}).items()]
    return [(file, rows["compute"]) for file, rows in (*ahead, (bench["engine"], bench["rows"]))]

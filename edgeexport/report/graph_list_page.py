"""report.html of a bundle that lists several graphs: what they are and cost, what was compared, what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from typing import Any

from jinja2 import DictLoader, Environment, StrictUndefined

from edgeexport.bundle import Bundle
from edgeexport.device.targets import TARGETS
from edgeexport.report.comparison_view import VerifyView
from edgeexport.report.first_view import weights_answer
from edgeexport.report.graph_figures import decoding_of_bundle, figures_of_graphs
from edgeexport.report.right_view import Answer, right_answer

__all__ = ["graph_list_page", "prompt_pays"]

_TEMPLATE = "graphs.html.j2"
_PARTS = (_TEMPLATE, "macros.html.j2", "report.css")
_SAME = 0.005

Json = Mapping[str, Any]


def graph_list_page(bundle: Bundle) -> str:
    """The page as text; self-contained.

    Raises:
        BundleError: One of the bundle's documents is damaged.
    """

    def document(name: str) -> Any:
        return bundle.json(name) if (bundle.path / name).is_file() else None

    manifest, bench, parity = bundle.manifest, document("bench.json"), document("parity.json")
    compared = [*_rows(parity), *_rows(document("verify.json"))]
    folder = resources.files("edgeexport.report")
    templates = {name: folder.joinpath(name).read_text(encoding="utf-8") for name in _PARTS}
    environment = Environment(
        loader=DictLoader(templates), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    target = str(manifest["target"])
    return environment.get_template(_TEMPLATE).render(
        m=manifest,
        p=bundle.prompt,
        target=TARGETS[target].title if target in TARGETS else target,
        pays=None if bundle.prompt is None else prompt_pays(manifest, bundle.prompt.slots),
        right=right_answer(parity and {"comparisons": _rows(parity)}, _verified(document("verify.json"))),
        weights=weights_answer(manifest["weights"]),
        figures=figures_of_graphs(bundle),
        decoding=[] if bundle.prompt is None else decoding_of_bundle(bundle),
        bench=bench,
        measured=_measured(bench),
        comparisons=compared,
    )


def prompt_pays(manifest: Json, slots: int) -> Answer:
    """Whether decoding with ``slots`` of the prompt kept is predicted faster than with the whole cache."""
    costs = manifest["cache_costs"]
    own = next((cost for cost in costs if cost["slots"] == slots), None)
    whole = max(costs, key=lambda cost: cost["slots"], default=None)
    if own is None or whole is None:
        return Answer("not known", "none", "The bundle says nothing of what its cache costs.")
    held = f"{own['cache_bytes'] / 1e6:.3f} of {whole['cache_bytes'] / 1e6:.3f} MB of cache (computed)"
    if own is whole:
        return Answer("whole cache", "none", f"Every place of the prompt is kept: {held}.")
    if own["predicted_ms"] is None or whole["predicted_ms"] is None:
        return Answer("not known", "none", f"{held}; no time is predicted for this target.")
    ratio = whole["predicted_ms"] / own["predicted_ms"]
    times = (
        f"a token decoded in {own['predicted_ms']:.4f} ms beside {whole['predicted_ms']:.4f} ms with the whole cache"
    )
    if ratio <= 1 + _SAME:
        return Answer("no difference", "warning", f"Predicted: {times}, within {_SAME:.1%}; {held}.")
    return Answer("yes", "passed", f"Predicted: {times}, {ratio:.2f} times as fast; {held}. Of decoding alone.")


def _rows(document: Any) -> list[dict[str, Any]]:
    """The comparisons of parity.json or verify.json, with all that the page shows; none without the file."""
    empty: dict[str, Any] = {"check": "", "reference": "", "images": [], "status": "", "reason": ""}
    empty |= {"decisions": [], "outputs": []}
    return [] if document is None else [{**empty, **row} for row in document["comparisons"]]


def _verified(verify: Any) -> VerifyView | None:
    """verify.json in short; None without it."""
    if verify is None:
        return None
    runner = str(verify.get("runner") or "this machine")
    return VerifyView(str(verify.get("status") or "not run"), runner, "", ())


def _measured(bench: Any) -> list[tuple[str, Any]]:
    if bench is None or "rows" not in bench:
        return []
    ahead = [(name, graph["rows"]) for name, graph in bench.get("graphs", {}).items()]
    return [(file, rows["compute"]) for file, rows in (*ahead, (bench["engine"], bench["rows"]))]

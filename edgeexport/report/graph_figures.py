"""Figures of a bundle that lists several graphs: work and predicted time of each, and of decoding by context and budget.

Runs without torch.
"""

from __future__ import annotations

from typing import Any

from edgeexport.bundle import Bundle
from edgeexport.cost.cache import decode_table
from edgeexport.cost.kernel_plan import read_plans
from edgeexport.cost.plan_time import plan_predictions

__all__ = ["decoding_of_bundle", "figures_of_graphs"]


def figures_of_graphs(bundle: Bundle) -> list[dict[str, Any]]:
    """Per graph its name, opset, ``macs`` and ``bytes`` (None in bundles of earlier versions), ``weight_bytes``, and of its
    kernel plan ``kernels`` and predicted ``ms`` in the target's fastest power mode; None where there is no plan, or no rates.

    Raises:
        BundleError: kernels.json is damaged.
    """
    plans = read_plans(bundle.path)
    target, precision = str(bundle.manifest["target"]), str(bundle.manifest["precision"])
    figures = []
    for graph in bundle.manifest["graphs"]:
        plan = None if plans is None else plans.of_graph(graph["name"], precision)
        predicted = [] if plan is None else plan_predictions(plan, target)[:1]
        figures.append(
            {
                "name": graph["name"],
                "opset": graph["opset"],
                "macs": graph["macs"],
                "bytes": graph.get("bytes"),
                "weight_bytes": graph["weight_bytes"],
                "kernels": None if plan is None else len(plan.kernels),
                "ms": predicted[0].total_ms if predicted else None,
            }
        )
    return figures


def decoding_of_bundle(bundle: Bundle) -> list[dict[str, Any]]:
    """`decode_table` of a language model's bundle, by the weights of its last graph."""
    facts = bundle.prompt
    assert facts is not None
    return decode_table(facts, int(bundle.manifest["graphs"][-1]["weight_bytes"]))

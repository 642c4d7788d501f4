"""The words that a report uses, explained as docs/glossary.md does: a page that travels alone explains itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["WORDS", "words_of_page"]

Json = Mapping[str, Any]

WORDS: Mapping[str, str] = {
    "bundle": (
        "The folder that a build writes: graphs, manifest, golden values, evidence, plugin sources. It is all that a "
        "device needs."
    ),
    "decision": ("Which tokens an execution shared, pruned or merged. Parity compares decisions as well as outputs."),
    "dense": (
        "The same model without any reduction. Dense merging is another thing: merging before a block and copying back after "
        "it, so that every patch has a token again."
    ),
    "engine": (
        "What a runtime makes of a bundle's graph for one machine: TensorRT's plan, or ONNX Runtime's optimised graph."
    ),
    "fixed": "The form that is exported: constant counts, every shape known. Compare adaptive.",
    "GMAC": "10⁹ multiply-accumulates, counted from shapes.",
    "kernel plan": (
        "The kernels that a compiler of TensorRT's family makes of a graph, listed without a GPU to run them. Times on a page "
        "with a plan are predicted from it."
    ),
    "merge": (
        "Replace tokens by their mean, weighted by how many patches each stands for (ToMe, DSM). The number merged per block "
        "is r."
    ),
    "near tie": (
        "Two tokens, or two classes, so nearly equal (within 1e-5 in float32) that two right executions may take either. The "
        "comparison then follows the execution's own choice, checks that it was such a tie, and demands the same outputs."
    ),
    "original": "The published computation, in torch: what the fixed form is compared with.",
    "parity": (
        "That two executions agree, in outputs and in decisions. A build that does not show it ends with exit code 4."
    ),
    "policy network": (
        "CTS's small convolutional network, which scores how alike the patches of each window are. It costs time too, and "
        "counts where a figure says so."
    ),
    "power mode": ("A Jetson's limit on clocks, cores and watts, set with nvpmodel. A time says nothing without it."),
    "prune": ("Let a token depart from the model at an exit (DToP). Later blocks do not see it; the others stayed."),
    "share": (
        "Let the four patches of a window have one token from the start (CTS). Unsharing gives each patch its own class scores "
        "back, at the end."
    ),
    "token": "What a Vision Transformer computes on: at first one per patch of the image.",
    "uncertified": (
        "Number of pixels of an image for which the tail cannot prove its class: one of the classes that it left out might "
        "have won. 0 means that the map is exact."
    ),
}
"""Word -> what it means, as plain text; in the glossary's words and order."""

_ALWAYS = ("bundle", "decision", "dense", "fixed", "original", "parity", "near tie", "token", "GMAC")


def words_of_page(manifest: Json, *, tokens: bool, prediction: bool, plans: bool, engine: bool) -> tuple[str, ...]:
    """Those of `WORDS` that a bundle's page needs, in order.

    Args:
        manifest: manifest.json.
        tokens, prediction, plans, engine: Whether the page has such a part.
    """
    shared = bool(manifest.get("num_shared"))
    needed = {
        "share": shared,
        "policy network": shared,
        "prune": bool(manifest.get("prune")),
        "merge": bool(manifest.get("merges")),
        "uncertified": manifest["checks"].get("tail", {}).get("form", "none") != "none",
        "power mode": prediction,
        "kernel plan": plans,
        "engine": engine,
        "GMAC": tokens,
    }
    return tuple(word for word in WORDS if needed.get(word, word in _ALWAYS))

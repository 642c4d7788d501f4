"""What is fed to a bundle's engine while it is timed: the first case of golden.npz, which holds a photograph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from numpy.typing import NDArray

from edgeexport.backends.golden_prompt import golden_prompt
from edgeexport.backends.prompt_runner import PromptRunner
from edgeexport.backends.runner import Runner
from edgeexport.bundle import Bundle
from edgeexport.documents import read_golden

__all__ = ["GOLDEN_INPUT", "Feed", "golden_feed", "prompt_feeds"]

GOLDEN_INPUT = "golden.npz, case0"

_CASE = "case0"


@dataclass(frozen=True)
class Feed:
    """The graph's first input at its shape and dtype, and its further inputs by name."""

    image: NDArray
    extra: dict[str, NDArray]


def prompt_feeds(bundle: Bundle, runners: Mapping[str, Runner]) -> dict[str, Feed]:
    """What every graph of a language model is given, by their names: of the first golden prompt and the first token behind it.

    Args:
        bundle: Lists the graphs.
        runners: Of the graphs, which are run once.

    Raises:
        BundleError: golden.npz is missing or damaged, or does not fit the graphs.
    """
    facts = bundle.prompt
    assert facts is not None
    prompt = golden_prompt(bundle, _CASE, facts)
    runner = PromptRunner(runners, facts)
    runner.prompt(prompt.prompt, prompt.pixels)
    runner.next(prompt.following[0])
    return {name: Feed(first, dict(others)) for name, (first, others) in runner.fed.items()}


def golden_feed(bundle: Bundle) -> Feed:
    """Reads the first golden case's inputs.

    Raises:
        BundleError: golden.npz is missing or damaged.
    """
    prefix = f"{_CASE}/input/"
    arrays = read_golden(
        bundle.path / "golden.npz", bundle.manifest, lambda name: name == f"{_CASE}/image" or name.startswith(prefix)
    )
    extra = {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}
    return Feed(arrays[f"{_CASE}/image"], extra)

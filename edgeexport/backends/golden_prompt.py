"""A golden prompt of a bundle: its arrays in golden.npz, read and held to the graphs. Runs without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from numpy.typing import NDArray

from edgeexport.bundle import Bundle
from edgeexport.documents import read_golden
from edgeexport.errors import BundleError
from edgeexport.inputs.prompt import LaidOutPrompt
from edgeexport.inputs.prompt_facts import PromptFacts

__all__ = ["PROMPT_ARRAYS", "GoldenPrompt", "golden_prompt"]

PROMPT_ARRAYS = ("input_ids", "attention_mask", "position_ids", "modality")


@dataclass(frozen=True)
class GoldenPrompt:
    """A prompt, the patches of its images, tokens given behind it, and everything of it in golden.npz by name."""

    prompt: LaidOutPrompt
    pixels: NDArray | None
    following: tuple[int, ...]
    arrays: Mapping[str, NDArray]


def golden_prompt(bundle: Bundle, case: str, facts: PromptFacts) -> GoldenPrompt:
    """Reads one.

    Raises:
        BundleError: golden.npz is missing, damaged, or does not fit the graphs.
    """
    prefix = f"{case}/"
    found = read_golden(bundle.path / "golden.npz", bundle.manifest, lambda name: name.startswith(prefix))
    own = {name.removeprefix(prefix): value for name, value in found.items()}
    where = f"{bundle.path / 'golden.npz'}: {case}"
    for name in (*PROMPT_ARRAYS, "following", "logits"):
        if name not in own:
            raise BundleError(where, f"has no {name}", "build it again")
    expected = (1, facts.length)
    count = len(own["following"])
    if own["input_ids"].shape != expected or not 1 <= count <= facts.new_tokens:
        raise BundleError(where, f"does not fit {expected}", "build it again")
    prompt = LaidOutPrompt(
        input_ids=own["input_ids"],
        attention_mask=own["attention_mask"],
        position_ids=own["position_ids"],
        modality=own["modality"],
        next_position=int(own["position_ids"].max()) + 1,
        tokens=int(own["attention_mask"].sum()),
    )
    return GoldenPrompt(prompt, own.get("pixel_values"), tuple(map(int, own["following"])), own)

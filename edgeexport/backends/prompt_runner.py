"""The graphs of a language model as one: a prompt, then token by token. Runs without torch.

New tokens go to the slots behind those that were kept of the prompt; their positions go on from the prompt's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from edgeexport.backends.runner import Runner
from edgeexport.errors import UsageError
from edgeexport.inputs.prompt import LaidOutPrompt
from edgeexport.inputs.prompt_facts import PromptFacts

__all__ = ["PromptRunner"]


class PromptRunner:
    """The graphs' runners by their names, one after the other.

    Attributes:
        facts: Of the prompt.
        name, version: Of the runtime.
        prefilled: After `prompt`, its outputs by name.
        fed: What each graph was given last: its first input, and the others by name.
    """

    def __init__(self, runners: Mapping[str, Runner], facts: PromptFacts) -> None:
        self.facts = facts
        self.fed: dict[str, tuple[NDArray, dict[str, NDArray]]] = {}
        self._runners = dict(runners)
        self.name, self.version = runners["decode"].name, runners["decode"].version
        self.prefilled: dict[str, NDArray] = {}
        self._caches: dict[str, NDArray] = {}
        self._mask = np.zeros((1, facts.capacity), np.int64)
        self._step = self._next_position = 0
        self._features: NDArray | None = None
        self._prompt: LaidOutPrompt | None = None

    def prompt(self, prompt: LaidOutPrompt, pixels: NDArray | None = None) -> NDArray:
        """Encodes a prompt and shrinks its cache; float32 (V,), logits of the first new token.

        Args:
            prompt: In the graphs' length.
            pixels: float32 (N, 3 frames patch^2), patches of all images, where the model takes images.
        """
        if "vision" in self._runners:
            assert pixels is not None
            self._features = self._run("vision", pixels, {})["image_features"]
        feeds: dict[str, NDArray] = {"attention_mask": prompt.attention_mask, "position_ids": prompt.position_ids}
        if "vision" in self._runners:
            feeds["modality"] = prompt.modality
        self.prefilled = self._run("prefill", self._embedded(prompt.input_ids), feeds)
        self._prompt = prompt
        return self.rewind()

    def rewind(self) -> NDArray:
        """Forgets the tokens behind the prompt that was encoded last; logits as `prompt` gave them."""
        prompt = self._prompt
        assert prompt is not None
        self._caches = {name: value for name, value in self.prefilled.items() if name.startswith("present.")}
        kept = min(prompt.tokens, self.facts.slots)
        self._mask[:] = 0
        first = self.facts.slots - prompt.tokens if self.facts.slots == self.facts.length else 0
        self._mask[:, max(first, 0) : max(first, 0) + kept] = 1
        if any(name.startswith("pivot.") for name in self.prefilled):  # merged: filled slots come first
            self._mask[:] = 0
            self._mask[:, :kept] = 1
        self._step, self._next_position = 0, prompt.next_position
        return self.prefilled["logits"][0, -1]

    def adopt(self, caches: Mapping[str, NDArray], tokens: int, next_position: int) -> None:
        """Goes on from a cache that was kept from before, in place of `prompt`.

        Args:
            caches: ``present.%d.key`` and ``.value``, as a prefill graph of this bundle gave them.
            tokens: Of the prompt that they are of.
            next_position: Of the next token.

        Raises:
            UsageError: They are of another bundle: of another budget, room for new tokens, or model.
        """
        facts = self.facts
        shape = (1, facts.kv_heads, facts.capacity, facts.head_size)
        names = [f"present.{layer}.{part}" for layer in range(facts.layers) for part in ("key", "value")]
        for name in names:
            if name not in caches or caches[name].shape != shape:
                found = "is missing" if name not in caches else f"is {list(caches[name].shape)}"
                problem = f"{found}, expected {list(shape)}: a cache of another budget or model"
                raise UsageError(f"cache: {name}", problem, "decode with the bundle whose prefill made the cache")
        self._caches = {name: caches[name] for name in names}
        self._mask[:] = 0
        self._mask[:, : min(tokens, facts.slots)] = 1
        self._step, self._next_position = 0, next_position

    def next(self, token: int) -> NDArray:
        """Appends a token; logits (V,) of the one after it.

        Raises:
            UsageError: The cache has no room for another token.
        """
        if self._step >= self.facts.new_tokens:
            problem = f"the cache has room for {self.facts.new_tokens} new tokens, and all are taken"
            raise UsageError("--max-new-tokens", problem, "ask for fewer, or build with a larger input.new_tokens")
        slot = self.facts.slots + self._step
        self._mask[:, slot] = 1
        ids = np.zeros((1, self.facts.length), np.int64)
        ids[0, -1] = token
        position = np.full((1, 1) if self.facts.axes == 1 else (3, 1, 1), self._next_position + self._step, np.int64)
        feeds = {"attention_mask": self._mask, "position_ids": position}
        feeds |= {name.replace("present", "past_key_values"): value for name, value in self._caches.items()}
        found = self._run("decode", self._embedded(ids)[:, -1:], feeds)
        self._caches = {name: found[name] for name in self._caches}
        self._step += 1
        return found["logits"][0, -1]

    def greedy(self, logits: NDArray, count: int, ends: Sequence[int] = ()) -> list[int]:
        """Ids of the likeliest continuation, ``count`` at most."""
        found: list[int] = []
        for _ in range(count):
            found.append(int(np.argmax(logits)))
            if found[-1] in ends or len(found) == count:
                break
            logits = self.next(found[-1])
        return found

    def _embedded(self, ids: NDArray) -> NDArray:
        extra = {} if self._features is None else {"image_features": self._features}
        return self._run("embedding", ids, extra)["inputs_embeds"]

    def _run(self, graph: str, first: NDArray, others: dict[str, NDArray]) -> dict[str, NDArray]:
        self.fed[graph] = first, others
        return self._runners[graph].run(first, others)

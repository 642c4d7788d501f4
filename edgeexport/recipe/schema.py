"""What a recipe says, as a frozen dataclass: the only form in which the rest of the package sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeexport.config.paths import shown_path
from edgeexport.config.place import Place
from edgeexport.hosts import HOSTS
from edgeexport.hosts.host import Host, TailSpec
from edgeexport.inputs.spec import InputSpec
from edgeexport.recipe.decoder import DecoderSpec
from edgeexport.recipe.labels import UNLABELLED, LabelsSpec
from edgeexport.reductions import REDUCTIONS
from edgeexport.tokens.host_facts import HostFacts

__all__ = ["Recipe"]


@dataclass(frozen=True)
class Recipe:
    """A validated recipe.

    ``model`` is its host's spec, and ``reductions`` holds a spec for every method that it uses, by the method's key and in the
    order in which methods act; without any it is the dense model. ``text`` is the recipe as resolved (JSON-ready dict:
    bases merged, options applied, defaults filled in), for the manifest. ``checkpoint`` is absolute, or None for weights
    drawn from ``seed``. ``output`` is one of the host's (see `Walk.predict` of each). ``tail`` concerns class maps alone.
    ``classes``/``palette`` have num_classes entries or are empty. ``extra_outputs`` names further graph outputs, in order.
    ``warnings`` say what it hardly means. ``from_file`` is False for a model's name, which ``path`` ends in then.
    ``decoder`` is appended to what the model gives out. ``labels`` is what evaluation may take from it. ``pictures`` are image
    files for the report, absolute; None stands for photographs that ship with the package.
    """

    name: str
    path: Path
    description: str
    model: Any
    checkpoint: Path | None
    seed: int
    input: InputSpec
    output: str
    reductions: Mapping[str, Any]
    tail: TailSpec
    extra_outputs: tuple[str, ...]
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    text: dict[str, object]
    warnings: tuple[str, ...] = ()
    from_file: bool = True
    decoder: DecoderSpec | None = None
    labels: LabelsSpec = UNLABELLED
    pictures: tuple[Path, ...] | None = None

    @property
    def host(self) -> Host:
        """The family of its model."""
        return HOSTS[self.model.type]

    @property
    def prediction(self) -> str:
        """The graph's first output."""
        return self.output if self.decoder is None else self.decoder.outputs[0]

    @property
    def graph_outputs(self) -> tuple[str, ...]:
        """Names of all graph outputs, the prediction first."""
        return (*((self.output,) if self.decoder is None else self.decoder.outputs), *self.extra_outputs)

    @property
    def facts(self) -> HostFacts:
        """What reductions may know of the model."""
        return self.host.facts(self.model, self.input)

    @property
    def scopes(self) -> dict[str, str]:
        """Path of a module of the fixed model, its numbers as '#' -> part of the model; a method's stand below its key."""
        rows = dict(self.host.scopes)
        for key in self.reductions:
            rows |= {f"{key}.{path}" if path else key: part for path, part in REDUCTIONS[key].scopes.items()}
        return rows

    def place_of(self, key: str) -> Place:
        """Where the method ``key`` stands, for messages."""
        return Place(shown_path(self.path)).at("reduction").at(key)

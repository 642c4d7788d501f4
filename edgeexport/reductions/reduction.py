"""The contract of a token reduction method: what the rest of the package asks of it, whatever it does.

A method is a file with a `Reduction`, found by the literal dict in `edgeexport.reductions`. It says what it does to the number
of tokens (`Reduction.changes`), and gives a step for each such change twice: as a module for the form that is exported, with
constant counts (`Reduction.step`), and as published, one image at a time (`Reduction.published`), which is what verification
compares with. Where a step acts is a `Cut`. A method knows its host by `HostFacts` alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from edgeexport.config.place import Place
from edgeexport.tokens.changes import Change, Cut
from edgeexport.tokens.host_facts import HostFacts
from edgeexport.tokens.published_tokens import PublishedTokens
from edgeexport.tokens.trace import Evidence

__all__ = ["NotApplicable", "Published", "Reduction"]


class NotApplicable(Exception):
    """The published form cannot be brought to the fixed counts on this image; the message says why."""


class Published:
    """A method as published, on one image: what it does at each cut. The default does nothing anywhere.

    Attributes:
        cuts: Block -> where the method acts in it, the embedding left out.
        metric: What tokens are compared by at `Cut.BETWEEN`: 'k', 'q', 'v' or 'x'; None: nothing is compared.
    """

    cuts: Mapping[int, Cut]
    metric: str | None = None

    def __init__(self, cuts: Mapping[int, Cut] | None = None) -> None:
        self.cuts = dict(cuts or {})

    def embed(self, pixels: Tensor, position: Tensor, tokens: PublishedTokens) -> tuple[Tensor, Tensor] | None:
        """Chosen patches (1, n, 3 P^2) and their positions (1, n, C), of the normalised image (1, 3, H, W) and the positions
        (1, N, C) of all; None: all patches, in order.
        """
        return None

    def between(self, number: int, x: Tensor, metric: Tensor | None, tokens: PublishedTokens) -> Tensor:
        """Tokens (1, n, C) after the attention of block ``number`` -> (1, m, C)."""
        return x

    def around(self, number: int, block: Any, x: Tensor, context: Tensor | None, tokens: PublishedTokens) -> Tensor:
        """The whole of block ``number``: (1, n, C) -> (1, n, C)."""
        return block(x, None, context)

    def leave(self, number: int, x: Tensor, scores: Tensor, rows: Tensor, tokens: PublishedTokens) -> Tensor:
        """Tokens (1, n, C) after block ``number``, whose head gives class scores (1, K, n) and rows (1, n, K) -> (1, m, C)."""
        return x


class Reduction(ABC):
    """A method: the same questions for all. ``spec`` is always what `spec_from_config` returned.

    Attributes:
        key: In a recipe's ``reduction``.
        title: For people: 'CTS'.
        follows: Keys of methods that may stand beside this one, acting before it; all others exclude each other.
        network: Attribute of the model, and prefix of checkpoint keys, of a network of the method's own; None: it has none.
        scopes: Path in the method's modules -> part of the model (see `edgeexport.cost.work.part_title`); '#' stands for a
            block's number, '' for the rest.
    """

    key: ClassVar[str]
    title: ClassVar[str]
    follows: ClassVar[frozenset[str]] = frozenset()
    network: ClassVar[str | None] = None
    scopes: ClassVar[Mapping[str, str]]

    # The recipe.

    @abstractmethod
    def refuses(self, facts: HostFacts) -> str:
        """What the method is for, where this host is something else; empty where it can act."""

    def sides(self, patch_size: int) -> tuple[int, str] | None:
        """What both sides of the input must be multiples of, in pixels, and why; None: the patch size will do."""
        return None

    @abstractmethod
    def spec_from_config(self, value: object, place: Place, facts: HostFacts, tokens: int, folder: Path) -> Any:
        """Validates the method's entry; None where it asks for nothing.

        Args:
            value: As the recipe gives it.
            place: Where it stands.
            facts: The host's.
            tokens: That enter block 1 after the methods before this one, prefix included.
            folder: Files that it names are relative to it.

        Raises:
            RecipeError: A key is unknown, a value has the wrong type or range, or the host cannot do what it asks for.
            CheckpointError: A file is missing.
        """

    @abstractmethod
    def resolved(self, given: Mapping[str, object], spec: Any) -> dict[str, object]:
        """The entry with defaults filled in, JSON-ready but for integer keys, which reads as the same spec."""

    @abstractmethod
    def changes(self, spec: Any, facts: HostFacts, tokens: int, place: Place) -> tuple[Change, ...]:
        """What happens to the number of tokens, in order: the one place that checks counts.

        Steps that remove nothing (see `Change.acts`) may be among them, to say what was asked for.

        Raises:
            RecipeError: A count does not fit the model.
        """

    def extra_outputs(self, spec: Any, facts: HostFacts, changes: Sequence[Any]) -> tuple[str, ...]:
        """Outputs that a recipe may ask for, of those in `output_names`."""
        return tuple(name for change in changes if change.acts for name in self.output_names(spec, facts, change))

    def pooling(self, spec: Any) -> str:
        """How tokens should become one, where they do: 'mean', or 'size_weighted'."""
        return "mean"

    # The two forms.

    @abstractmethod
    def step(self, spec: Any, facts: HostFacts, change: Any, network: nn.Module | None) -> nn.Module:
        """The module, without parameters of its own, that carries out a change with constant counts.

        How it is called goes by ``change.cut``; ``trace`` is a `Trace`, x is (B, n, C):

        - `Cut.EMBEDDING`: ``step(pixels, position, trace)`` -> patches (B, n, 3 P^2) and positions (B, n, C);
        - `Cut.BETWEEN`: ``step(x, metric, trace)`` -> x; its attribute ``metric`` names what tokens are compared by;
        - `Cut.AROUND`, `Cut.BRANCHES`: ``step(x, block, context, trace)`` -> x, running the `Block` itself;
        - `Cut.EXIT`: ``step(x, scores, rows, trace)`` -> x, with (B, K, n) class scores and (B, n, K) rows of the exit's head.

        Args:
            spec, facts: See the class.
            change: One of `changes` that acts.
            network: The method's own, where it has one.
        """

    @abstractmethod
    def published(
        self, spec: Any, facts: HostFacts, changes: Sequence[Any], settings: Any, network: nn.Module | None
    ) -> Published:
        """The method as published, for one image.

        Args:
            spec, facts, changes, network: As for `step`.
            settings: What `settings_for_counts` or `own_settings` returned; None where they do.
        """

    @abstractmethod
    def output_names(self, spec: Any, facts: HostFacts, change: Any) -> tuple[str, ...]:
        """Names that a step puts into `Trace.outputs`."""

    @abstractmethod
    def decisions(self, spec: Any, change: Any) -> tuple[str, ...]:
        """Those of them that tell which tokens were chosen."""

    # Verification.

    def own_settings(self, spec: Any, facts: HostFacts) -> Any:
        """What the published form goes by on its own; None where it has nothing but the counts."""
        return None

    def settings_for_counts(
        self, spec: Any, facts: HostFacts, changes: Sequence[Any], evidence: Mapping[str, Evidence], image: int
    ) -> Any:
        """Settings with which the published form removes as many tokens of this image as the fixed form did.

        Args:
            spec, facts, changes: As for `published`.
            evidence: Of the fixed form's pass.
            image: Which of its batch.

        Raises:
            NotApplicable: There are none.
        """
        return None

    # Work and documents.

    def matching_macs(self, spec: Any, facts: HostFacts, change: Any) -> int:
        """Multiply-accumulates with which a step compares tokens."""
        return 0

    def longest_sort(self, spec: Any, facts: HostFacts, change: Any) -> int:
        """The longest row that a step sorts whole, for runtimes whose TopK has a limit; 0 where it sorts none."""
        return 0

    def network_macs(self, spec: Any, facts: HostFacts) -> int:
        """Multiply-accumulates of the method's own network."""
        return 0

    def uses_network(self, spec: Any) -> bool:
        """Whether the network runs."""
        return self.network is not None

    def separate(self, spec: Any) -> str | None:
        """The decision that a graph of the network's own gives out, and that the model's graph takes as an input; None: the
        network is part of the model's graph.
        """
        return None

    def new_network(self) -> nn.Module:
        """The network, its weights without values yet."""
        raise TypeError(f"{self.title} has no network")

    def network_checkpoint(self, spec: Any) -> Path | None:
        """The network's own file; None where its weights are in the model's checkpoint."""
        return None

    @abstractmethod
    def tokens_document(self, spec: Any, changes: Sequence[Any]) -> dict[str, object]:
        """Entries of tokens.json."""

    @abstractmethod
    def manifest(self, spec: Any, changes: Sequence[Any]) -> dict[str, object]:
        """Entries of manifest.json, for what follows tokens on a device."""

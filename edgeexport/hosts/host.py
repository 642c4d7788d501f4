"""The contract of a model family: what the rest of the package asks of it, whatever it is.

A family is a folder with a `Host`, found by the literal dict in `edgeexport.hosts`. Its model is walked block by block:
`Walk` for the form that is exported, `PublishedWalk` for the reference, image by image. Neither knows any reduction; what a
reduction needs to know stands in `HostFacts`, and where it acts in `Cut`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from numpy.typing import NDArray
from torch import Tensor, nn

from edgeexport.config.place import Place
from edgeexport.cost.macs import BlockMacs, vit_block_macs
from edgeexport.hosts.checkpoint_file import Checkpoint
from edgeexport.hosts.piece import Piece
from edgeexport.inputs.spec import InputSpec
from edgeexport.tokens.block import Block
from edgeexport.tokens.changes import BlockTokens, BranchTokens
from edgeexport.tokens.host_facts import HostFacts
from edgeexport.tokens.published_tokens import PublishedTokens
from edgeexport.tokens.trace import Trace
from edgeexport.tokens.windows import WindowGrid

__all__ = [
    "MERGING_CONVENTION",
    "NO_TAIL",
    "ClassMapTail",
    "ExitPrediction",
    "ExitTokens",
    "Head",
    "Host",
    "HostMacs",
    "PublishedWalk",
    "TailSpec",
    "Walk",
    "refuse_given",
    "vit_macs",
]


@dataclass(frozen=True)
class TailSpec:
    """Class-map tail: ``form`` 'fast' (``candidates`` classes per cell, certified) or 'plain' (Resize + ArgMax).

    Models without a class map have ``TailSpec('none', 0)``.
    """

    form: str
    candidates: int


NO_TAIL = TailSpec("none", 0)

MERGING_CONVENTION = (
    "multiply-accumulates per image, fvcore convention: multiply-accumulate 1, LayerNorm 5 per element; biases, "
    "activations, softmax, additions, pooling, selection, gathers, the mean of merged tokens and unmerging 0. Matching is "
    "the similarity of every source with every destination, counted in blocks that merge; without windows it is that of "
    "all even with all odd tokens, as the published code computes it. Optional norms of a host (of queries and keys, of "
    "branches, ahead of the blocks) and a pooling by attention are not counted. Token counts include class, distillation "
    "and register tokens"
)
"""`Host.convention` of families whose tokens only merge."""


@dataclass(frozen=True)
class ExitPrediction:
    """What an exit's head says of the n tokens that it reads.

    ``scores`` float32 (B, K, n) are class scores per token. ``rows`` float32 (B, n, K) are what the final prediction takes
    from a token that leaves here.
    """

    scores: Tensor
    rows: Tensor


@dataclass(frozen=True)
class ExitTokens:
    """Tokens that meet an exit, and how many leave there, prefix tokens included."""

    block: int
    tokens: int
    pruned: int


@dataclass(frozen=True)
class Head:
    """A head that is executed, with its multiply-accumulates per image.

    ``name`` is the model's attribute path. ``blocks`` are the 1-based blocks that it reads, deepest first, ``tokens`` those
    that it sees of each, prefix left out or not as the family counts, ``pruned`` those that leave after it.
    """

    name: str
    type: str
    blocks: tuple[int, ...]
    tokens: int
    pruned: int
    macs: int


@dataclass(frozen=True)
class HostMacs:
    """Multiply-accumulates per image of a walk with one schedule, reductions' own left out."""

    embedding: int
    blocks: tuple[BlockMacs, ...]
    final_norm: int
    heads: tuple[Head, ...]
    tail: int = 0


@dataclass(frozen=True)
class ClassMapTail:
    """`UpsampleArgmax` on (B, ``num_classes``, h, w) scores, ``grid``, to a class map of ``size`` (H, W).

    It blends ``candidates`` classes per cell; with ``fast`` it counts the pixels that those cannot prove.
    """

    num_classes: int
    grid: tuple[int, int]
    size: tuple[int, int]
    candidates: int
    fast: bool


class Walk(nn.Module, ABC):
    """The model cut into modules between which reductions act; batched, with constant shapes.

    Attributes:
        blocks: '1', '2', ... -> `Block`, the executed ones.
        exits: '6', ... -> a module, tokens (B, n, C) -> `ExitPrediction`.
        reads: 1-based blocks whose tokens `predict` takes.
        output_names: Of `predict`, the prediction first.
        input_names: Of the graph.
        position: (1, N, C), positions of all patches, for hosts whose patches can be chosen.
        class_map_tail: How a class map is made from scores per patch; None where none is.
        window_grid: Windows that slide over an image, which the model sees in its place; None where it sees it whole.
    """

    window_grid: WindowGrid | None = None
    input_names: ClassVar[tuple[str, ...]] = ("image",)
    blocks: nn.ModuleDict
    exits: nn.ModuleDict
    class_map_tail: ClassMapTail | None = None
    reads: tuple[int, ...]
    position: Tensor

    @property
    @abstractmethod
    def output_names(self) -> tuple[str, ...]:
        """See the class."""

    @property
    def rotation(self) -> Tensor | None:
        """(1, N, 2 d), see `Trace.rotation`, of the tokens that enter block 1."""
        return None

    @abstractmethod
    def begin(self, *inputs: Tensor) -> tuple[Tensor, Tensor | None]:
        """Inputs in the recipe's form -> what is embedded, and the context that blocks attend to."""

    @abstractmethod
    def embed(self, pixels: Tensor) -> Tensor:
        """What enters block 1: (B, N, C), prefix tokens first."""

    def embed_patches(self, patches: Tensor, position: Tensor) -> Tensor:
        """The same from chosen flat patches (B, n, 3 P^2) and their positions (B, n, C)."""
        raise TypeError(f"{type(self).__name__} embeds whole images")

    @abstractmethod
    def predict(self, stages: dict[int, Tensor], trace: Trace, pool: str) -> dict[str, Tensor]:
        """The outputs by name.

        Args:
            stages: Block -> (B, n, C) after it, for those in ``reads``.
            trace: Where the tokens are.
            pool: 'mean', or 'size_weighted': how tokens become one, where they do.
        """

    def piece(self, op_type: str, told: Mapping[str, Any], inputs: Sequence[str], shape: Sequence[int]) -> Piece:
        """The nodes of a stand-in, for hosts whose model is a graph already (see `edgeexport.hosts.piece`).

        Args:
            op_type, told: The stand-in's operator and attributes.
            inputs: Names of what it reads.
            shape: Of the first of them.
        """
        raise TypeError(f"{type(self).__name__} has no stand-ins")

    def block(self, number: int) -> Block:
        """The 1-based block."""
        module = self.blocks[str(number)]
        assert isinstance(module, Block)
        return module


class PublishedWalk(ABC):
    """The same steps as the published code takes them, one image (batch 1) at a time; the reference.

    Attributes:
        rotation: (N, 2 d), see `Walk.rotation`.
    """

    rotation: Tensor | None = None

    @abstractmethod
    def begin(self, *inputs: Tensor) -> tuple[Tensor, Tensor | None]:
        """See `Walk.begin`."""

    def windows_of(self, pixels: Tensor) -> list[Tensor]:
        """What the model sees one by one of an image; usually the image."""
        return [pixels]

    def joined(self, windows: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Predictions of the image from those of what `windows_of` gave."""
        (whole,) = windows
        return whole

    @abstractmethod
    def embed(self, pixels: Tensor) -> Tensor:
        """See `Walk.embed`."""

    def embed_patches(self, patches: Tensor, position: Tensor) -> Tensor:
        """See `Walk.embed_patches`."""
        raise TypeError(f"{type(self).__name__} embeds whole images")

    def exit(self, block: int, x: Tensor) -> ExitPrediction:
        """What the head after ``block`` says of the tokens (1, n, C)."""
        raise TypeError(f"{type(self).__name__} has no exit after block {block}")

    @abstractmethod
    def block(self, number: int) -> Any:
        """See `Walk.block`: something with ``attend``, ``finish``, ``residuals`` and a call. Its metric is (1, n, D)."""

    @abstractmethod
    def predict(
        self, stages: dict[int, Tensor], tokens: PublishedTokens, *, pool: str, upsample: bool
    ) -> dict[str, Tensor]:
        """The outputs of one image by name, without a batch axis.

        Args:
            stages: Block -> (1, n, C) after it.
            tokens: Where its tokens are.
            pool: See `Walk.predict`.
            upsample: False may leave predictions per pixel out.
        """


class Host(ABC):
    """A family of models: the same questions for all.

    Attributes:
        types: Values of a recipe's ``model['type']``.
        outputs: What a recipe may ask for as ``output``, the default first.
        convention: How its multiply-accumulates are counted, for tokens.json.
        counts_prefix: Whether the token counts of tokens.json include prefix tokens.
        num_branches: Residual branches of a block.
        checkpoint_is_model: A recipe's checkpoint says what the model is, so that it has to be there; `model` has its weights.
        scopes: Path in the walk -> part of the model (see `edgeexport.cost.work.part_title`); '#' stands for a block's number.
    """

    types: ClassVar[tuple[str, ...]]
    outputs: ClassVar[tuple[str, ...]]
    convention: ClassVar[str]
    counts_prefix: ClassVar[bool]
    num_branches: ClassVar[int] = 2
    checkpoint_is_model: ClassVar[bool] = False
    scopes: ClassVar[Mapping[str, str]]

    # The recipe.

    @abstractmethod
    def spec_from_config(self, value: object, place: Place) -> Any:
        """Validates ``model``: a frozen dataclass with ``type``. Raises: RecipeError."""

    def spec_of_checkpoint(self, value: object, place: Place, checkpoint: Path | None) -> Any:
        """`spec_from_config`, for families whose checkpoint says what the model is. Raises: RecipeError, UsageError."""
        return self.spec_from_config(value, place)

    def own_run(self, spec: Any, size: InputSpec) -> Callable[[Sequence[NDArray]], dict[str, NDArray]] | None:
        """The model run whole by what its owner runs it with: inputs in the recipe's form, batch first, to outputs by name.

        What the graph without reductions is held to in every build; None where the published walk is that already.
        """
        return None

    def config_of_name(self, model: Mapping[str, object], place: Place) -> dict[str, object]:
        """A whole recipe's plain data of a model that has a name: how its own library feeds it, without reductions.

        Args:
            model: ``name``, and what else the user gives of ``model``, which holds.
            place: Of ``model``, for messages.

        Raises:
            RecipeError: No such model, with the nearest named; or one of another family.
        """
        raise TypeError(f"{type(self).__name__} has no names")

    def warnings(self, spec: Any, size: InputSpec) -> tuple[str, ...]:
        """What a recipe may say but hardly means."""
        return ()

    @abstractmethod
    def resolved(self, given: dict[str, object], spec: Any) -> dict[str, object]:
        """``model`` with its defaults written out."""

    @abstractmethod
    def patch_size(self, spec: Any) -> int:
        """Side of a patch in pixels; 0 where there are none."""

    @abstractmethod
    def input_from_config(self, value: object, place: Place, spec: Any, sides: tuple[int, str]) -> InputSpec:
        """Validates ``input``; ``sides`` is what both must be multiples of, and why. Raises: RecipeError."""

    def check(self, config: Mapping[str, object], place: Place, spec: Any, size: InputSpec) -> None:  # noqa: B027
        """Validates what depends on model and input together. Raises: RecipeError."""

    def sized(self, spec: Any, size: InputSpec) -> Any:
        """``spec`` with an input of this size: what means nothing for it left out."""
        return spec

    @abstractmethod
    def tail_from_config(self, value: object, place: Place, spec: Any) -> TailSpec:
        """Validates ``tail``. Raises: RecipeError."""

    @abstractmethod
    def palette_from_config(
        self, config: Mapping[str, object], place: Place, spec: Any
    ) -> tuple[tuple[tuple[int, int, int], ...], object]:
        """Validates ``palette`` (and ``classes`` where the family has none): colours, and the resolved entry."""

    def available_outputs(self, spec: Any) -> tuple[str, ...]:
        """What a recipe of this very model may ask for as ``output``, the default first."""
        return self.outputs

    def tapped(self, spec: Any, value: object, place: Place) -> Any:
        """``spec`` with ``taps``: blocks after which tokens are given out as well. Raises: RecipeError."""
        refuse_given(value, place, "taps are for models that give features out")
        return spec

    def feature_shapes(self, spec: Any, size: InputSpec) -> dict[str, tuple[int, ...]]:
        """Shapes of the float32 outputs that a decoder may read."""
        return {}

    def always_given(self, spec: Any) -> tuple[str, ...]:
        """Outputs that come with the prediction without being asked for by name."""
        return ()

    def giving(self, spec: Any, outputs: Sequence[str]) -> Any:
        """``spec`` of a recipe that asks for these, the prediction first; other methods' outputs may be among them."""
        return spec

    @abstractmethod
    def facts(self, spec: Any, size: InputSpec) -> HostFacts:
        """What reductions may know."""

    def extra_outputs(self, spec: Any, output: str, tail: TailSpec) -> tuple[str, ...]:
        """Outputs that a recipe may ask for beside the prediction."""
        return ()

    # Weights.

    @abstractmethod
    def model(self, spec: Any) -> nn.Module:
        """The module that checkpoints fit, in eval mode, its weights without values yet."""

    @abstractmethod
    def seed(self, model: nn.Module, spec: Any, seed: int) -> None:
        """Overwrites all weights with values that depend on ``seed`` and each weight's key alone."""

    def adapted(
        self, model: nn.Module, spec: Any, checkpoint: Checkpoint, source: str
    ) -> tuple[dict[str, Tensor], str]:
        """A checkpoint's weights under the keys of ``model``, as far as the family knows others' keys, and what was done to
        them, for people; empty where nothing was.

        Raises:
            CheckpointError: They are of another model, named ``source``.
        """
        return checkpoint.state, ""

    def optional_keys(self, spec: Any, exits: Iterable[int]) -> tuple[str, ...]:
        """Prefixes of keys that a checkpoint may lack or hold in vain, with tokens leaving after the blocks ``exits``."""
        return ()

    # The walk.

    @abstractmethod
    def walk(self, model: nn.Module, spec: Any, size: InputSpec, output: str, tail: TailSpec) -> Walk:
        """The form that is exported, around the model's own modules."""

    @abstractmethod
    def published_walk(self, model: nn.Module, spec: Any, size: InputSpec, output: str) -> PublishedWalk:
        """The reference."""

    # Work.

    @abstractmethod
    def block_macs(self, spec: Any, branches: Sequence[BranchTokens]) -> BlockMacs:
        """One block whose branches run on these tokens."""

    @abstractmethod
    def macs(
        self, spec: Any, size: InputSpec, embedded: int, blocks: Sequence[BlockTokens], exits: Sequence[ExitTokens]
    ) -> HostMacs:
        """Everything of the family's own.

        Args:
            spec, size: The model and its input.
            embedded: Patches that are embedded.
            blocks: The executed ones.
            exits: Where tokens leave.
        """

    def geometry(self, spec: Any, facts: HostFacts) -> dict[str, object]:
        """Entries of tokens.json on patches and prefix tokens."""
        return {"grid": list(facts.grid), "patches": facts.num_patches, "class_token": bool(facts.prefix)}


def refuse_given(value: object, place: Place, reason: str) -> None:
    """Refuses a key that a family of models has no use for; None and empty lists are as good as absent.

    Raises:
        RecipeError: It is given.
    """
    if value is None or (isinstance(value, (list, tuple, dict)) and not value):
        return
    raise place.error(value, f"unsupported: {reason}", "leave it out")


def vit_macs(branches: Sequence[BranchTokens], width: int, hidden: int) -> BlockMacs:
    """A pre-norm ViT block of two branches, attention and MLP (see `vit_block_macs`)."""
    attention, mlp = branches
    norms = attention.norm + mlp.norm
    return vit_block_macs(attention.work, width, hidden, mlp_tokens=mlp.work, norm_tokens=norms)

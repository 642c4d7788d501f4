"""A file as a walk: stand-ins for its parts, which run in ONNX Runtime, and which an export shows as single nodes.

`OnnxFileWalk` runs parts that were rewritten for the number of tokens at hand. `PublishedOnnxFileWalk` runs the file's own
blocks as they were exported, for all N tokens: fewer are filled up with zeros whose keys nobody attends to. So whatever was
rewritten, and whatever merges, is compared with blocks that nobody touched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edgeexport.hosts.host import PublishedWalk, Walk
from edgeexport.hosts.onnx_file import parts
from edgeexport.hosts.onnx_file.runner import FileRunner
from edgeexport.hosts.onnx_file.spec import OnnxFileSpec
from edgeexport.hosts.onnx_file.tables import table_rows
from edgeexport.hosts.onnx_file.vit import FileVit
from edgeexport.hosts.piece import STAND_IN, Piece
from edgeexport.hosts.restored import Restored
from edgeexport.inputs.spec import InputSpec
from edgeexport.tokens.block import Block
from edgeexport.tokens.preprocess import NormalisedImage, normalised_image
from edgeexport.tokens.published_tokens import PublishedTokens
from edgeexport.tokens.trace import Trace

__all__ = ["OnnxFileWalk", "PublishedOnnxFileWalk"]

_ABSENT = -1e30
"""Added to the logits of keys that do not exist."""


def _stand_in(
    op_type: str, inputs: Sequence[Tensor], attributes: dict[str, Any], shapes: Sequence[Sequence[int]]
) -> Sequence[Tensor]:
    """One opaque node in an export."""
    dtypes = [torch.float32] * len(shapes)
    return torch.onnx.ops.symbolic_multi_out(
        f"{STAND_IN}::{op_type}", tuple(inputs), attributes, dtypes=dtypes, shapes=shapes, version=1
    )


def _array(value: Tensor | None) -> Any:
    return None if value is None else value.detach().numpy()


class _Embedding(nn.Module):
    def __init__(self, runner: FileRunner) -> None:
        super().__init__()
        self.runner = runner
        self.beside: dict[str, Any] = {}

    def forward(self, pixels: Tensor) -> Tensor:
        vit = self.runner.vit
        if torch.onnx.is_in_onnx_export():
            return _stand_in("Opening", [pixels], {}, [(vit.batch, vit.tokens, vit.width)])[0]
        tokens, self.beside = self.runner.opening(_array(pixels))
        return torch.from_numpy(tokens)


class _Attention(nn.Module):
    def __init__(self, runner: FileRunner, number: int) -> None:
        super().__init__()
        self.runner, self.number = runner, number

    def forward(
        self, x: Tensor, bias: Tensor | None, metric: str | None, rotation: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        vit = self.runner.vit
        rows = None if rotation is None or x.shape[1] == vit.tokens else rotation
        kind = metric if metric in ("k", "q", "v") else ""
        if not torch.onnx.is_in_onnx_export():
            after, compared = self.runner.attend(self.number, _array(x), _array(bias), _array(rows), kind)
            result = torch.from_numpy(after)
            own = None if compared is None else torch.from_numpy(compared)
        else:
            inputs = [x, *([] if bias is None else [bias]), *([] if rows is None else [rows])]
            told: dict[str, Any] = {"block": self.number, "bias": int(bias is not None), "rows": int(rows is not None)}
            shapes: list[Sequence[int]] = [x.shape]
            if kind:
                told["metric"] = kind
                piece = parts.attending(vit, self.number, x.shape[1], "x", metric=kind) if rows is None else None
                shapes.append(self._metric_shape(kind, x.shape[1]) if piece is None else _last_shape(piece))
            result, *others = _stand_in("Attention", inputs, told, shapes)
            own = others[0] if others else None
        return result, result if metric == "x" else own

    def _metric_shape(self, kind: str, tokens: int) -> tuple[int, ...]:
        shape = _last_shape(parts.attending(self.runner.vit, self.number, self.runner.vit.tokens, "x", metric=kind))
        return (*shape[:2], tokens, shape[3])


def _last_shape(piece: Piece) -> tuple[int, ...]:
    return piece.shapes[piece.outputs[-1]]


class _Mlp(nn.Module):
    def __init__(self, runner: FileRunner, number: int) -> None:
        super().__init__()
        self.runner, self.number = runner, number

    def forward(self, x: Tensor) -> Tensor:
        if torch.onnx.is_in_onnx_export():
            return _stand_in("Finish", [x], {"block": self.number}, [x.shape])[0]
        return torch.from_numpy(self.runner.finish(self.number, _array(x)))


class _Tail(nn.Module):
    def __init__(self, runner: FileRunner) -> None:
        super().__init__()
        self.runner = runner

    def forward(self, stages: dict[int, Tensor], beside: Mapping[str, Any]) -> dict[str, Tensor]:
        vit = self.runner.vit
        if not torch.onnx.is_in_onnx_export():
            given = self.runner.tail({number: _array(x) for number, x in stages.items()}, beside)
            return {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in given.items()}
        shapes = [vit.graph.shapes[name] for name in vit.graph.outputs]
        values = _stand_in("Tail", [stages[number] for number in vit.reads], {}, shapes)
        return dict(zip(vit.graph.outputs, values, strict=True))


class _FileBlock(Block):
    attn: nn.Module
    mlp: nn.Module

    def __init__(self, runner: FileRunner, number: int) -> None:
        super().__init__(attn=_Attention(runner, number), mlp=_Mlp(runner, number))

    def attend(
        self, x: Tensor, bias: Tensor | None, metric: str | None, rotation: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """See `Block.attend`; the metric may be 'k', 'q', 'v' or 'x'."""
        return self.attn(x, bias, metric, rotation)

    def finish(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """What follows the attention."""
        return self.mlp(x)


class OnnxFileWalk(Walk):
    """Walks a file; see `predict`."""

    def __init__(self, vit: FileVit, spec: OnnxFileSpec, size: InputSpec, output: str) -> None:
        super().__init__()
        self.vit, self.own_output = vit, output
        runner = FileRunner(vit)
        self.input_names = (spec.input,)  # type: ignore[misc]
        self.pixels = NormalisedImage(size)
        self.embedding = _Embedding(runner)
        self.blocks = nn.ModuleDict(
            {str(number): _FileBlock(runner, number) for number in range(1, max(spec.reads) + 1)}
        )
        self.exits = nn.ModuleDict()
        self.reads = spec.reads
        self.restored = Restored()
        self.tail = _Tail(runner)
        rows = table_rows(vit)
        self._rows = None if rows is None else torch.from_numpy(rows)[None]
        self._image = spec.input

    @property
    def rotation(self) -> Tensor | None:
        """Rows of every token's tables, (1, N, W)."""
        return self._rows

    @property
    def output_names(self) -> tuple[str, ...]:
        """The file's outputs."""
        return tuple(dict.fromkeys((self.own_output, *self.vit.graph.outputs)))

    def begin(self, *inputs: Tensor) -> tuple[Tensor, None]:
        """The image as the file takes it."""
        (image,) = inputs
        return self.pixels(image), None

    def embed(self, pixels: Tensor) -> Tensor:
        """What enters block 1."""
        return self.embedding(pixels)

    def predict(self, stages: dict[int, Tensor], trace: Trace, pool: str) -> dict[str, Tensor]:
        """The file's outputs; merged tokens are brought back ahead of its own tail, unless that reads prefix tokens alone."""
        if not (self.vit.keeps_merged and len(self.reads) == 1):
            stages = {number: self.restored(x, number, trace) for number, x in stages.items()}
        given = self.tail(stages, self.embedding.beside)
        return {name: given[name] for name in self.output_names}

    def piece(self, op_type: str, told: Mapping[str, Any], inputs: Sequence[str], shape: Sequence[int]) -> Piece:
        """See `Walk.piece`."""
        x, *others = inputs
        number = told.get("block", 0)
        if op_type == "Opening":
            self._image = x  # the tail may read it too, and comes later
            return parts.opening(self.vit, x)
        if op_type == "Finish":
            return parts.finishing(self.vit, number, shape[1], x)
        if op_type == "Tail":
            beside = {name: self._image if name == self.vit.graph.input else name for name in self.vit.beside}
            return parts.tail(self.vit, inputs, beside, shape[1])
        bias = others.pop(0) if told["bias"] else ""
        rows = others.pop(0) if told["rows"] else ""
        metric, images = told.get("metric", ""), self.vit.batch
        return parts.attending(self.vit, number, shape[1], x, bias=bias, rows=rows, rows_batch=images, metric=metric)


class PublishedOnnxFileWalk(PublishedWalk):
    """The file's own blocks, one image at a time."""

    def __init__(self, vit: FileVit, spec: OnnxFileSpec, size: InputSpec) -> None:
        self.vit, self.size = vit, size
        self.runner = FileRunner(vit)
        rows = table_rows(vit)
        self.rotation = None if rows is None else torch.from_numpy(rows)
        self._beside: dict[str, Any] = {}

    def begin(self, *inputs: Tensor) -> tuple[Tensor, None]:
        """The image as the file takes it."""
        (image,) = inputs
        return normalised_image(image, self.size), None

    def embed(self, pixels: Tensor) -> Tensor:
        """What enters block 1."""
        tokens, self._beside = self.runner.opening(_array(pixels))
        return torch.from_numpy(tokens)

    def block(self, number: int) -> _PublishedBlock:
        """The file's block."""
        return _PublishedBlock(self.runner, number)

    def predict(
        self, stages: dict[int, Tensor], tokens: PublishedTokens, *, pool: str, upsample: bool
    ) -> dict[str, Tensor]:
        """The file's own tail on all tokens, those that merged brought back."""
        whole = {number: _array(tokens.restored(number, x)) for number, x in stages.items()}
        given = self.runner.tail(whole, self._beside)
        return {name: torch.from_numpy(np.ascontiguousarray(value[0])) for name, value in given.items()}


class _PublishedBlock:
    def __init__(self, runner: FileRunner, number: int) -> None:
        self.runner, self.number, self.tokens = runner, number, runner.vit.tokens
        self.residuals: Sequence[Any] = ()

    def __call__(
        self, x: Tensor, bias: Tensor | None, context: Tensor | None, rotation: Tensor | None = None
    ) -> Tensor:
        return self.finish(self.attend(x, bias, None, rotation)[0])

    def attend(
        self, x: Tensor, bias: Tensor | None, metric: str | None, rotation: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        count, missing = x.shape[1], self.tokens - x.shape[1]
        kind = metric if metric in ("k", "q", "v") else ""
        if missing or bias is not None:
            own = np.zeros((1, 1, 1, count), np.float32) if bias is None else _array(bias)
            added = np.concatenate([own, np.full((1, 1, 1, missing), _ABSENT, np.float32)], axis=3)
        else:
            added = None
        rows = None if rotation is None or not missing else self._filled(_array(rotation)[None])
        after, compared = self.runner.attend(self.number, self._filled(_array(x)), added, rows, kind)
        result = torch.from_numpy(np.ascontiguousarray(after[:, :count]))
        if compared is None:
            return result, result if metric == "x" else None
        return result, torch.from_numpy(compared[:, :, :count].mean(axis=1))

    def finish(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        after = self.runner.finish(self.number, self._filled(_array(x)))
        return torch.from_numpy(np.ascontiguousarray(after[:, : x.shape[1]]))

    def _filled(self, x: np.ndarray) -> np.ndarray:
        """As many tokens as the file's blocks take: zeros."""
        return np.pad(x, ((0, 0), (0, self.tokens - x.shape[1]), (0, 0)))

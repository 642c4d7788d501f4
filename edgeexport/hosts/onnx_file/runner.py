"""Parts of a file run one by one in ONNX Runtime, as the reference of the graph that is written."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from edgeexport.device.plain_session import plain_session
from edgeexport.hosts.onnx_file import parts
from edgeexport.hosts.onnx_file.vit import FileVit
from edgeexport.hosts.piece import Piece

__all__ = ["FileRunner"]

Arrays = list[NDArray]


class FileRunner:
    """Runs parts at any number of tokens; batches of fewer images than the file takes are filled up and cut again."""

    def __init__(self, vit: FileVit) -> None:
        self.vit = vit
        self._sessions: dict[Hashable, tuple[onnxruntime.InferenceSession, Piece]] = {}

    def opening(self, pixels: NDArray) -> tuple[NDArray, dict[str, NDArray]]:
        """float32 (B, C, H, W) -> what enters block 1, (B, N, C), and what the tail reads beside it, by name."""
        vit = self.vit
        tokens, *others = self._run("opening", lambda: parts.opening(vit, "pixels"), [pixels])
        beside = dict(zip([name for name in vit.beside if name != vit.graph.input], others, strict=True))
        return tokens, beside | ({vit.graph.input: pixels} if vit.graph.input in vit.beside else {})

    def attend(
        self, number: int, x: NDArray, bias: NDArray | None, rows: NDArray | None, metric: str
    ) -> tuple[NDArray, NDArray | None]:
        """See `parts.attending`."""
        tokens, given = x.shape[1], [x, *([] if bias is None else [bias]), *([] if rows is None else [rows])]
        if rows is not None and len(rows) != self.vit.batch:
            rows = np.broadcast_to(rows, (self.vit.batch, *rows.shape[1:])) if len(rows) == 1 else rows
            given[-1] = rows
        named = {
            "bias": "" if bias is None else "bias",
            "rows": "" if rows is None else "rows",
            "rows_batch": self.vit.batch,
            "metric": metric,
        }
        result = self._run(
            ("attend", number, tokens, *named.values()),
            lambda: parts.attending(self.vit, number, tokens, "x", **named),  # type: ignore[arg-type]
            given,
            len(x),
        )
        return result[0], result[1] if metric else None

    def finish(self, number: int, x: NDArray) -> NDArray:
        """See `parts.finishing`."""
        tokens = x.shape[1]
        return self._run(("finish", number, tokens), lambda: parts.finishing(self.vit, number, tokens, "x"), [x])[0]

    def tail(self, stages: Mapping[int, NDArray], beside: Mapping[str, NDArray]) -> dict[str, NDArray]:
        """Tokens (B, n, C) after blocks, and what lies beside, to the file's outputs by name."""
        vit = self.vit
        names = [f"stage_{number}" for number in vit.reads]
        tokens = stages[vit.reads[0]].shape[1]
        given = [*(stages[number] for number in vit.reads), *(beside[name] for name in vit.beside)]
        named = {name: f"beside_{place}" for place, name in enumerate(vit.beside)}
        values = self._run(("tail", tokens), lambda: parts.tail(vit, names, named, tokens), given, len(given[0]))
        return dict(zip(vit.graph.outputs, values, strict=True))

    def _run(self, key: Hashable, make: Callable[[], Piece], given: Sequence[NDArray], images: int = 0) -> Arrays:
        if key not in self._sessions:
            piece = make()
            self._sessions[key] = plain_session(piece.model().SerializeToString()), piece
        session, piece = self._sessions[key]
        images = images or len(given[0])
        feeds = {
            name: np.ascontiguousarray(_filled(value, piece.shapes[name][0]))
            for name, value in zip(piece.inputs, given, strict=True)
        }
        return [value[:images] for value in session.run(None, feeds)]


def _filled(value: NDArray, batch: int) -> NDArray:
    """As many images as the part takes: the last again."""
    missing = batch - len(value)
    return value if missing <= 0 else np.concatenate([value, *[value[-1:]] * missing])

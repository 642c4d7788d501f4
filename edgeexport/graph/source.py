"""Where in the user's code an ONNX node comes from, as far as the exporter says."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path, PurePath, PurePosixPath

import onnx

__all__ = ["SOURCE_KEY", "source_of_node", "source_of_trace"]

SOURCE_KEY = "edgeexport.source"
"""Node metadata that our own export writes: ``file:line (function)``, already relative."""

_TRACE_KEY = "pkg.torch.onnx.stack_trace"
_FRAME = re.compile(
    r'^\s*File "(?P<path>[^"]+)", line (?P<line>\d+)[^\n]*(?:\n(?!\s*File ")(?P<code>[^\n]*))?', re.MULTILINE
)


def source_of_node(node: onnx.NodeProto) -> str:
    """File, line and code, as in path.py:12 `y = x[keep]`, from the node's metadata, or '' when it carries none."""
    metadata = {item.key: item.value for item in node.metadata_props}
    return metadata.get(SOURCE_KEY) or source_of_trace(metadata.get(_TRACE_KEY, ""))


def source_of_trace(trace: str) -> str:
    """The frame of a Python stack trace (outermost first) to show: the innermost one that is not torch's own."""
    frames = [(PurePath(match["path"]), match["line"], match["code"]) for match in _FRAME.finditer(trace)]
    chosen = next(
        (frame for frame in reversed(frames) if not _is_torch(frame[0].parts)), frames[-1] if frames else None
    )
    if chosen is None:
        return ""
    path, line, code = chosen
    return f"{_shown_path(path)}:{line}" + (f" `{code.strip()}`" if code and code.strip() else "")


def _is_torch(folders: Iterable[str]) -> bool:
    """Whether a file is torch's. A user's own folder may be called torch too: only an installed one counts."""
    pairs = tuple(pairwise(folders))
    return any((folder, "torch") in pairs for folder in ("site-packages", "dist-packages"))


def _shown_path(path: PurePath) -> str:
    """Relative to its installation or to the current folder; else the bare name, for a path tells of the machine."""
    for folder in ("site-packages", "dist-packages"):
        if folder in path.parts:
            return str(PurePosixPath(*path.parts[path.parts.index(folder) + 1 :]))
    if path.is_relative_to(Path.cwd()):
        return path.relative_to(Path.cwd()).as_posix()
    return path.name

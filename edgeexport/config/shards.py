"""Weights in several files, as Hugging Face transformers saves large models: an index, and the files that it names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from edgeexport.documents.hugging_face import HUGGING_FACE_INDEX
from edgeexport.documents.reading import read_document
from edgeexport.errors import CheckpointError, plain_text

__all__ = ["INDEX_SUFFIX", "keys_of_shards"]

INDEX_SUFFIX = ".index.json"
_KINDS = (".safetensors", ".bin")


def keys_of_shards(index: Path) -> Mapping[Path, tuple[str, ...]]:
    """The files that an index names, all in its own folder, ascending, and which keys it says each of them holds.

    Raises:
        CheckpointError: The index is damaged, names something else than a file beside it, or a file that is missing.
    """
    keys: dict[str, list[str]] = {}
    for key, name in read_document(index, HUGGING_FACE_INDEX)["weight_map"].items():
        keys.setdefault(name, []).append(key)
    if not keys:
        raise CheckpointError(str(index), "names no file of weights", "copy the folder again")
    for name in sorted(keys):
        shown = plain_text(name)
        if PurePosixPath(name).name != name or "\\" in name or not name.endswith(_KINDS):
            problem = f"names {shown!r}, expected files beside it that end in {' or '.join(_KINDS)}"
            raise CheckpointError(str(index), problem, "copy the folder again")
        if not (index.parent / name).is_file():
            problem = f"names {shown}, which is not beside it ({len(keys)} files in all)"
            raise CheckpointError(str(index), problem, "copy the whole folder, every file of weights")
    return {index.parent / name: tuple(keys[name]) for name in sorted(keys)}

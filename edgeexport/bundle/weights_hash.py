"""What tells one set of weights from another, whether it is one file or several."""

from __future__ import annotations

import hashlib
from pathlib import Path

from edgeexport.bundle.bundle import sha256_of
from edgeexport.config.shards import INDEX_SUFFIX, keys_of_shards

__all__ = ["weights_sha256"]


def weights_sha256(path: Path) -> str:
    """Hex sha256 of a file's bytes; of an index over names and sha256 of the files that it names, and its own.

    Raises:
        CheckpointError: Of an index, see `keys_of_shards`.
    """
    if not path.name.endswith(INDEX_SUFFIX):
        return sha256_of(path)
    digest = hashlib.sha256()
    for file in (path, *keys_of_shards(path)):
        digest.update(f"{file.name}\0{sha256_of(file)}\n".encode())
    return digest.hexdigest()

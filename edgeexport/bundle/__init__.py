"""The bundle on disk: manifest, files with their hashes, and ways to write them whole. Runs without torch."""

from __future__ import annotations

from edgeexport.bundle.bundle import (
    SCHEMA,
    Bundle,
    hashes_of,
    json_bytes,
    open_bundle,
    sha256_of,
)
from edgeexport.bundle.staging import check_replaceable, refuse_link_of_bundle, staged_bundle

__all__ = [
    "SCHEMA",
    "Bundle",
    "check_replaceable",
    "hashes_of",
    "json_bytes",
    "open_bundle",
    "refuse_link_of_bundle",
    "sha256_of",
    "staged_bundle",
]

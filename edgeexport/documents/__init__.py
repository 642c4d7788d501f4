"""The documents that edgeexport reads, each as one declared model with limits. Runs without torch."""

from __future__ import annotations

from typing import Any

from edgeexport.documents.bench import BENCH, Bench
from edgeexport.documents.comparisons import PARITY, VERIFY, Parity, Verify
from edgeexport.documents.engine import ENGINE, Engine
from edgeexport.documents.evaluation import EVALUATION, Evaluated
from edgeexport.documents.fidelity import FIDELITY, Fidelity
from edgeexport.documents.golden import GoldenArrays, read_golden
from edgeexport.documents.kernels import KERNELS, Kernels
from edgeexport.documents.manifest import MANIFEST, Manifest
from edgeexport.documents.reading import Entries, Kind, parsed, read_bytes, read_document
from edgeexport.documents.tokens import TOKENS, Tokens
from edgeexport.documents.work import WORK, Work

__all__ = [
    "BENCH",
    "ENGINE",
    "EVALUATION",
    "FIDELITY",
    "IN_A_BUNDLE",
    "KERNELS",
    "MANIFEST",
    "PARITY",
    "TOKENS",
    "VERIFY",
    "WORK",
    "Bench",
    "Engine",
    "Entries",
    "Evaluated",
    "Fidelity",
    "GoldenArrays",
    "Kernels",
    "Kind",
    "Manifest",
    "Parity",
    "Tokens",
    "Verify",
    "Work",
    "parsed",
    "read_bytes",
    "read_document",
    "read_golden",
]

IN_A_BUNDLE: dict[str, Kind[Any]] = {
    "manifest.json": MANIFEST,
    "tokens.json": TOKENS,
    "work.json": WORK,
    "kernels.json": KERNELS,
    "engine.json": ENGINE,
    "parity.json": PARITY,
    "verify.json": VERIFY,
    "bench.json": BENCH,
    "evaluation.json": EVALUATION,
}
"""A bundle's documents by file name."""

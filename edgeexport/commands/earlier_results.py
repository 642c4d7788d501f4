"""What was measured and checked of a bundle outlives a build that gives the same graphs; what does not is named."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeexport import documents
from edgeexport.backends.engine import ENGINE_RECORD, engine_record
from edgeexport.bundle import Bundle, json_bytes, open_bundle, sha256_of
from edgeexport.bundle.files import write_file
from edgeexport.documents import Kind, read_document
from edgeexport.errors import BundleError, EdgeExportError
from edgeexport.profile.earlier_bench import BENCH, EARLIER_FILES, POWER_CSV
from edgeexport.profile.layers import PROFILE_FILE

__all__ = ["EarlierResults", "keep_results"]

_VERIFY, _MANIFEST = "verify.json", "manifest.json"
_OF_GRAPHS = (BENCH, POWER_CSV, PROFILE_FILE, *EARLIER_FILES.values(), "evaluation.json")
_KINDS: dict[str, Kind[Any]] = {
    BENCH: documents.BENCH,
    EARLIER_FILES[BENCH]: documents.BENCH,
    _VERIFY: documents.VERIFY,
}
_OF_BUILDS = ("report.html", "build.log", "parity.json", "kernels.json", "overlay.png", "plugins")
_LOGS = ("remote-build.log", "remote-verify.log", "remote-profile.log")


@dataclass(frozen=True)
class EarlierResults:
    """Names of what was taken over from an earlier bundle, and of what was not, with the reason."""

    kept: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    reason: str = ""

    @property
    def warning(self) -> str:
        """What is gone; empty where nothing is."""
        return f"not kept of the earlier bundle: {', '.join(self.dropped)} ({self.reason})" if self.dropped else ""


def keep_results(earlier: Path, staging: Path) -> EarlierResults:
    """Takes results of the bundle that is about to be replaced over into the new one.

    bench.json, engine.profile.json and the like are kept where target, precision, graphs and plugins are the same,
    verify.json where the golden values are, too, and an engine that the new build made none of. Where manifest.json differs
    all the same (another version of edgeexport), what is kept refers to the new one.

    Args:
        earlier: The place of the bundle; may be empty.
        staging: The new bundle, complete with manifest and, if one is built here, its engine.

    Raises:
        OSError: Something cannot be written.
    """
    try:
        names = {path.name for path in earlier.iterdir() if path.is_symlink() or not path.name.startswith(".")}
    except OSError:
        return EarlierResults()
    there = names - {path.name for path in staging.iterdir()} - {*_OF_BUILDS, *_LOGS}
    try:
        old, new = open_bundle(earlier, check_hashes=False), open_bundle(staging, check_hashes=False)
    except EdgeExportError as error:
        return EarlierResults(dropped=tuple(sorted(there)), reason=str(error))
    there -= set(old.manifest["files"])
    reason = "the graphs, the target or the precision are others"
    wanted: set[str] = set()
    if _graphs(old) == _graphs(new):
        reason = "of no use with the new one, damaged, or not of edgeexport"
        wanted = {*_OF_GRAPHS, *_engine_files(old, staging)}
        wanted |= {_VERIFY} if _golden(old) == _golden(new) else set()
    kept = [name for name in sorted(there & wanted) if _taken_over(old, new, name)]
    return EarlierResults(tuple(kept), tuple(sorted(there.difference(kept))), reason)


def _graphs(bundle: Bundle) -> tuple[object, ...]:
    """What latency and outputs depend on."""
    files = bundle.manifest["files"]
    graphs = {name: files[name] for name in files if name.startswith(("model.", "policy.", "plugins/"))}
    return graphs, bundle.manifest.get("target"), bundle.manifest.get("precision"), bundle.manifest.get("input")


def _golden(bundle: Bundle) -> object:
    return bundle.manifest["files"].get("golden.npz")


def _engine_files(old: Bundle, staging: Path) -> tuple[str, ...]:
    """The earlier engine's, where the new build has none: the graphs are the same, so it is still theirs."""
    try:
        record = None if (staging / ENGINE_RECORD).exists() else engine_record(old)
    except EdgeExportError:
        return ()
    return () if record is None else (ENGINE_RECORD, "engine.graph.json", "timing.cache", *record.files)


def _taken_over(old: Bundle, new: Bundle, name: str) -> bool:
    source, target = old.path / name, new.path / name
    if source.is_symlink() or not source.is_file():
        return False
    kind = _KINDS.get(name)
    if kind is None:
        _linked(source, target)
        return True
    try:
        document = read_document(source, kind)
    except BundleError:
        return False
    was, now = (sha256_of(bundle.path / _MANIFEST) for bundle in (old, new))
    write_file(target, json_bytes(_renamed(document, was, now)))
    return True


def _renamed(document: Mapping[str, Any], was: str, now: str) -> Mapping[str, Any]:
    """The document, its ``manifest_sha256`` that of the new manifest if it was that of the earlier one."""
    about = document.get("bundle")
    if isinstance(about, dict) and about.get("manifest_sha256") == was:
        return {**document, "bundle": {**about, "manifest_sha256": now}}
    return {**document, "manifest_sha256": now} if document.get("manifest_sha256") == was else document


def _linked(source: Path, target: Path) -> None:
    """A plan may have gigabytes; the earlier bundle goes at the end."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)

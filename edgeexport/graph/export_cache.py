"""Torch's exports kept on disk, so that the same model is exported once: by one process while others wait for it.

They lie in the user's cache, or in a folder that an environment variable names; set to nothing, it switches the cache off, as
`without_kept_exports` does for a block. A variable and no argument, because it says where this machine keeps things, not
what is built: no bundle depends on it, and it holds alike for `build`, `lint`, the Python API, and every process that one of
them starts.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from edgeexport.bundle.files import replaced_file
from edgeexport.errors import UsageError
from edgeexport.fixed.model import FixedModel
from edgeexport.graph.export_key import export_key
from edgeexport.graph.graphs import export_of_fixed
from edgeexport.graph.weights_apart import weights_folder
from edgeexport.plugin.search import cache_folder

try:
    import fcntl
except ImportError:  # Windows has none
    fcntl = None  # type: ignore[assignment]

__all__ = [
    "FOLDER_VARIABLE",
    "LIMIT_BYTES",
    "Export",
    "ExportCache",
    "export_cache",
    "kept_export",
    "without_kept_exports",
]

FOLDER_VARIABLE = "EDGEEXPORT_EXPORT_CACHE"
LIMIT_BYTES = 4 << 30
"""What a folder may hold: ten ViT-Bs. A model of which four would not fit is not kept."""

_ENDING = ".export"
_DIGEST_BYTES = hashlib.sha256().digest_size


@dataclass(frozen=True)
class Export:
    """Torch's export of a fixed model, the caller's own to change, and whether it had been made before."""

    model: onnx.ModelProto
    reused: bool


def export_cache(environ: Mapping[str, str] | None = None) -> ExportCache | None:
    """The folder that the environment names, else ``exports`` in the user's cache; None where it is set to nothing."""
    environ = os.environ if environ is None else environ
    named = environ.get(FOLDER_VARIABLE)
    if named is None:
        return ExportCache(cache_folder(environ) / "exports", may_fail=True)
    return ExportCache(Path(named)) if named else None


@contextlib.contextmanager
def without_kept_exports(asked: bool = True) -> Iterator[None]:
    """Exports of the block are made anew and not kept, also in processes that it starts; ``asked`` False changes nothing."""
    before = os.environ.get(FOLDER_VARIABLE)
    if asked:
        os.environ[FOLDER_VARIABLE] = ""
    try:
        yield
    finally:
        if asked and before is None:
            os.environ.pop(FOLDER_VARIABLE, None)
        elif asked:
            os.environ[FOLDER_VARIABLE] = str(before)


def kept_export(fixed: FixedModel, metadata: dict[str, str], cache: ExportCache | None = None) -> Export:
    """`edgeexport.graph.graphs.export_of_fixed`, from ``cache`` (None: `export_cache`) where it has been made before.

    Raises:
        BuildError: Torch's exporter fails.
        UsageError: The folder that the environment names cannot be used.
    """
    cache = export_cache() if cache is None else cache
    if cache is None:
        return Export(export_of_fixed(fixed, metadata), reused=False)
    export = cache.export(export_key(fixed), lambda: export_of_fixed(fixed, {}))
    for key, value in sorted(metadata.items()):  # as the exporter adds it; the same model may come from another recipe
        export.model.metadata_props.add(key=key, value=value)
    return export


@dataclass(frozen=True)
class ExportCache:
    """A folder of exports, one file each: the SHA-256 of the rest of it, then the model in ONNX's own form.

    Exports used least recently go first where the folder would hold more than ``limit_bytes``. One that ``may_fail`` is not
    used where its folder cannot be: nobody asked for it by name.
    """

    folder: Path
    limit_bytes: int = LIMIT_BYTES
    may_fail: bool = False

    def export(self, key: str, make: Callable[[], onnx.ModelProto]) -> Export:
        """The export called ``key``, or what ``make`` gives, which is kept; one that cannot be kept is given all the same.

        Raises:
            UsageError: The folder cannot be made or written.
        """
        with self._locked(key):
            kept = self._read(key)
            if kept is not None:
                return Export(kept, reused=True)
            model = make()
            with contextlib.suppress(OSError):  # a full disk: the export is there, and the next build makes it again
                self._write(key, model)
            return Export(model, reused=False)

    def _read(self, key: str) -> onnx.ModelProto | None:
        """The model, or None where there is none; one that is damaged is dropped."""
        path = self.folder / f"{key}{_ENDING}"
        try:
            content = memoryview(path.read_bytes())
        except OSError:
            return None
        digest, body = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
        with contextlib.suppress(DecodeError, OSError):
            if hashlib.sha256(body).digest() == digest:
                model = onnx.ModelProto.FromString(body)
                os.utime(path)
                return model
        with contextlib.suppress(OSError):
            path.unlink()
        return None

    def _write(self, key: str, model: onnx.ModelProto) -> None:
        if weights_folder(model) is not None or 4 * model.ByteSize() > self.limit_bytes:
            return
        body = model.SerializeToString(deterministic=True)
        with replaced_file(self.folder / f"{key}{_ENDING}") as file:
            file.write(hashlib.sha256(body).digest())
            file.write(body)
        self._make_room(key)

    def _make_room(self, newest: str) -> None:
        """Drops exports that were used least recently, and what killed processes left, until the limit is kept."""
        files = []
        for path in [*self.folder.glob(f"*{_ENDING}"), *self.folder.glob(".*.partial-*")]:
            with contextlib.suppress(OSError):  # another process dropped it
                files.append((path.stat().st_mtime_ns, path.stat().st_size, path))
        held = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if held <= self.limit_bytes:
                return
            if path.name != f"{newest}{_ENDING}":
                path.unlink(missing_ok=True)
                held -= size

    @contextlib.contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        """One process at a time per key. A lock that the file system does not have costs work, never an export."""
        path = self.folder / f".{key}.lock"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            if self.may_fail:
                yield
                return
            problem = f"not a folder that can be written: {error.strerror or error}"
            raise UsageError(str(self.folder), problem, f"name another in {FOLDER_VARIABLE}, or unset it") from error
        try:
            if fcntl is not None:
                with contextlib.suppress(OSError):  # some network file systems
                    fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            with contextlib.suppress(OSError):  # those who wait for it find the export; only then a new lock is made
                path.unlink(missing_ok=True)
            os.close(descriptor)

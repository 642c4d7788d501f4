"""The deployment bundle: a folder with a manifest, written all at once or not at all. Runs without torch."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from edgeexport.bundle.files import disk_errors
from edgeexport.bundle.places import check_bundle_path
from edgeexport.bundle.tensor_info import TensorInfo
from edgeexport.errors import BundleError, ParityError, UsageError
from edgeexport.inputs.spec import InputSpec, Preprocess

__all__ = [
    "SCHEMA",
    "Bundle",
    "check_replaceable",
    "hashes_of",
    "json_bytes",
    "open_bundle",
    "sha256_of",
    "staged_bundle",
]

SCHEMA = "edgeexport.bundle/1"
_FAMILY = SCHEMA.split("/")[0]
_AGAIN = "copy or build the bundle again"
_REQUIRED = ("name", "input", "inner_outputs", "files")


class _Manifest(dict[str, Any]):
    """A manifest's entries; reading one that it lacks is a `BundleError`, wherever that happens."""

    def __init__(self, entries: Mapping[str, Any], path: Path) -> None:
        super().__init__(entries)
        self._path = path

    def __missing__(self, key: str) -> NoReturn:
        raise BundleError(str(self._path), f"lacks {key!r}", _AGAIN)


@dataclass(frozen=True)
class Bundle:
    """An opened bundle: its folder and its manifest, already checked."""

    path: Path
    manifest: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Name of the recipe it was built from."""
        return str(self.manifest["name"])

    @property
    def input(self) -> InputSpec:
        """The model's input form; bundles of the first version know colour images alone, and leave the sizes to the shape."""
        entry = self.manifest["input"]
        shape, rule = entry["shape"], entry["preprocess"]
        preprocess = None
        if rule is not None:
            preprocess = Preprocess(tuple(rule["mean"]), tuple(rule["std"]), rule["bgr_to_rgb"])
        if "num_channels" not in entry:
            height, width = shape[2:4] if rule is None else shape[1:3]
            return InputSpec(shape[0], height, width, preprocess)
        context = entry["context"]
        return InputSpec(
            batch=shape[0],
            height=entry["height"],
            width=entry["width"],
            preprocess=preprocess,
            channels=entry["num_channels"],
            frames=entry["frames"],
            context=None if context is None else (context[0], context[1]),
        )

    @property
    def extra_inputs(self) -> list[TensorInfo]:
        """The graph's inputs after the first: the text of a diffusion block."""
        return [TensorInfo(i["name"], i["dtype"], tuple(i["shape"])) for i in self.manifest.get("extra_inputs", [])]

    @property
    def inner_outputs(self) -> list[TensorInfo]:
        """Values of the graph that are no outputs but can be asked for (decisions, low-resolution scores)."""
        return [TensorInfo(i["name"], i["dtype"], tuple(i["shape"])) for i in self.manifest["inner_outputs"]]

    def json(self, name: str) -> Any:
        """Content of a JSON file of the bundle.

        Raises:
            BundleError: Missing or damaged.
        """
        return _read_json(self.path / name)


def open_bundle(path: Path, *, check_hashes: bool = True) -> Bundle:
    """Opens a bundle folder.

    Raises:
        BundleError: No bundle, a damaged or missing file, or another schema version (exit code 9).
    """
    check_bundle_path(path)
    if not path.is_dir():
        raise BundleError(str(path), "is no bundle folder", "give the folder that `edgeexport build` printed")
    if not (path / "manifest.json").is_file():
        raise BundleError(str(path), "has no manifest.json, so it is no bundle", "build it again")
    manifest = _read_json(path / "manifest.json")
    schema = manifest.get("schema") if isinstance(manifest, dict) else None
    if schema != SCHEMA:
        raise BundleError(
            str(path / "manifest.json"),
            f"schema {schema!r}, this edgeexport reads {SCHEMA!r}",
            "build the bundle again with this version, or use the version that wrote it",
        )
    missing = [key for key in _REQUIRED if key not in manifest]
    if missing or not isinstance(manifest["files"], dict):
        problem = f"lacks {', '.join(missing)}" if missing else "'files' is no list of files with their sha256"
        raise BundleError(str(path / "manifest.json"), problem, _AGAIN)
    if check_hashes:
        for name, expected in manifest["files"].items():
            file = path / name
            if not file.is_file():
                raise BundleError(str(file), "is missing from the bundle", _AGAIN)
            try:
                digest = sha256_of(file)
            except OSError as error:
                raise BundleError(str(file), f"cannot be read ({error})", _AGAIN) from None
            if digest != expected:
                raise BundleError(
                    str(file),
                    f"was changed after the build: sha256 {digest[:12]}..., the manifest says {str(expected)[:12]}...",
                    _AGAIN,
                )
    return Bundle(path, _Manifest(manifest, path / "manifest.json"))


def check_replaceable(path: Path) -> None:
    """Refuses a destination that holds something other than a bundle.

    Raises:
        UsageError: ``path`` is a file, or a non-empty folder without a bundle's manifest.
    """
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise UsageError(str(path), "exists and is not a folder", "give another --work-dir")
    if path.is_dir() and any(path.iterdir()) and not _is_bundle(path):
        raise UsageError(
            str(path), "holds something that is not an edgeexport bundle, and is left alone", "give another --work-dir"
        )


@contextlib.contextmanager
def staged_bundle(path: Path) -> Iterator[Path]:
    """A temporary sibling of ``path`` to write into; takes its place when the block ends well.

    An error or Ctrl-C removes it and leaves an existing bundle as it was. A `ParityError` keeps it as
    ``<path>.failed``, the evidence (with a number, where that name holds something else).

    Raises:
        UsageError: See `check_replaceable`.
        BuildError: The disk is full or not writable.
    """
    check_replaceable(path)
    if path.name in ("", ".."):  # the current folder or one above, which have no name to put a sibling beside
        path = path.resolve()
    staging = path.with_name(f".{path.name}.partial-{os.getpid()}")
    full = "free some space and build again; nothing was changed"
    try:
        with disk_errors(path.parent, "choose another --work-dir", when_full=full):
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(staging, ignore_errors=True)
            staging.mkdir()
            yield staging
            check_replaceable(path)
            _replace_folder(staging, path)
    except ParityError as error:
        evidence = _evidence_folder(path)
        _replace_folder(staging, evidence)
        raise ParityError(error.where, error.problem, f"{error.remedy}; evidence is in {evidence}") from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def json_bytes(value: object) -> bytes:
    """JSON for people and for hashing: indented, keys as given, one trailing newline."""
    return (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode(errors="replace")


def sha256_of(path: Path) -> str:
    """Hex sha256 of a file, read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def hashes_of(folder: Path, names: list[str]) -> dict[str, str]:
    """File name -> sha256, in the order given."""
    return {name: sha256_of(folder / name) for name in names}


def _is_bundle(path: Path) -> bool:
    try:
        manifest = json.loads((path / "manifest.json").read_text())
    except (OSError, ValueError):
        return False
    return isinstance(manifest, dict) and str(manifest.get("schema", "")).startswith(_FAMILY)


def _evidence_folder(path: Path) -> Path:
    """Where a failed build of ``path`` goes: nothing, or the evidence of an earlier one, stands there."""
    number = 1
    while True:
        folder = path.with_name(f"{path.name}.failed{'' if number == 1 else f'-{number}'}")
        if (folder / "parity.json").is_file() or not os.path.lexists(folder):
            return folder
        number += 1


def _replace_folder(source: Path, target: Path) -> None:
    """Renames ``source`` to ``target``; what stood there is removed only after the rename."""
    retired = target.with_name(f".{target.name}.old-{os.getpid()}")
    shutil.rmtree(retired, ignore_errors=True)
    try:
        if target.exists():
            target.rename(retired)
        source.rename(target)
    except BaseException:  # Ctrl-C between the two renames as well
        if retired.exists() and not target.exists():
            retired.rename(target)
        raise
    finally:
        if target.exists():
            shutil.rmtree(retired, ignore_errors=True)


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BundleError(str(path), "is missing from the bundle", _AGAIN) from None
    except (OSError, ValueError) as error:
        raise BundleError(str(path), f"cannot be read ({error})", _AGAIN) from None

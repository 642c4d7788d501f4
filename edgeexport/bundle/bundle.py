"""The deployment bundle: a folder with a manifest, opened and read. Runs without torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from edgeexport.bundle.places import check_bundle_path
from edgeexport.bundle.remains import clear_remains
from edgeexport.bundle.tensor_info import TensorInfo
from edgeexport.errors import BundleError
from edgeexport.inputs.spec import InputSpec, Preprocess

__all__ = [
    "SCHEMA",
    "Bundle",
    "hashes_of",
    "json_bytes",
    "open_bundle",
    "sha256_of",
]

SCHEMA = "edgeexport.bundle/1"
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
    """Opens a bundle folder, once what dead processes left of it is cleared or put back.

    Raises:
        BundleError: No bundle, a damaged or missing file, or another schema version (exit code 9).
    """
    check_bundle_path(path)
    place = path.resolve() if path.name in ("", "..") else path
    clear_remains(place.parent, place.name)
    clear_remains(path)
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


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BundleError(str(path), "is missing from the bundle", _AGAIN) from None
    except (OSError, ValueError) as error:
        raise BundleError(str(path), f"cannot be read ({error})", _AGAIN) from None

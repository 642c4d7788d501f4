"""The deployment bundle: a folder with a manifest, opened and read. Runs without torch."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from edgeexport.bundle.places import check_bundle_path
from edgeexport.bundle.tensor_info import TensorInfo
from edgeexport.device.remains import clear_remains
from edgeexport.documents import IN_A_BUNDLE, Manifest, read_document
from edgeexport.documents.manifest import MANIFEST, MANIFEST_SCHEMA
from edgeexport.errors import BundleError, UsageError
from edgeexport.inputs.prompt_facts import PromptFacts
from edgeexport.inputs.spec import Crop, InputSpec, Preprocess

__all__ = [
    "SCHEMA",
    "Bundle",
    "GraphInfo",
    "hashes_of",
    "json_bytes",
    "open_bundle",
    "sha256_of",
]

SCHEMA = MANIFEST_SCHEMA
_AGAIN = "copy or build the bundle again"


@dataclass(frozen=True)
class Bundle:
    """An opened bundle: its folder and its manifest, already checked; ``part`` tells a `policy` from the whole."""

    path: Path
    manifest: Manifest
    part: str = "model"

    @property
    def policy(self) -> Bundle | None:
        """The policy network's graph as a bundle of its own in the same folder, where it is not inside the model's: its output
        is the choice, an input of the model.
        """
        separate = self.manifest.get("policy")
        if separate is None:
            return None
        own: dict[str, Any] = {"outputs": [separate["output"]], "extra_inputs": [], "inner_outputs": [], "policy": None}
        return replace(self, manifest=cast(Manifest, {**self.manifest, **own}), part="policy")

    def graph(self, name: str) -> str:
        """The part's own file in place of the model's: 'policy.onnx' in place of 'model.onnx'."""
        return name.replace("model", self.part, 1)

    @property
    def listed(self) -> list[Bundle]:
        """Each of the graphs that the manifest lists as a bundle of its own in the same folder; empty where it lists none."""
        told = []
        for graph in self.manifest.get("graphs", ()):
            own: dict[str, Any] = {
                "outputs": graph["outputs"],
                "extra_inputs": graph["inputs"][1:],
                "inner_outputs": [],
            }
            told.append(replace(self, manifest=cast(Manifest, {**self.manifest, **own}), part=graph["name"]))
        return told

    def refuse_several(self) -> None:
        """For commands that take one graph.

        Raises:
            UsageError: The bundle lists several.
        """
        if "graphs" in self.manifest:
            problem = "holds several graphs of a language model, which this command does not take"
            remedy = "build, inspect, lint, verify, run, profile and compare take it"
            raise UsageError(str(self.path), problem, remedy)

    @property
    def name(self) -> str:
        """Name of the recipe it was built from."""
        return str(self.manifest["name"])

    @property
    def input(self) -> InputSpec:
        """The model's input form; bundles of the first version know colour images alone, and leave the sizes to the shape."""
        self.refuse_several()
        entry = self.manifest["input"]
        shape, rule = entry["shape"], entry["preprocess"]
        preprocess = None
        if rule is not None:
            preprocess = Preprocess((*rule["mean"],), (*rule["std"],), rule["bgr_to_rgb"])
        if "num_channels" not in entry:
            height, width = shape[2:4] if rule is None else shape[1:3]
            return InputSpec(shape[0], height, width, preprocess)
        context, crop = entry["context"], entry.get("crop")
        return InputSpec(
            batch=shape[0],
            height=entry["height"],
            width=entry["width"],
            preprocess=preprocess,
            channels=entry["num_channels"],
            frames=entry["frames"],
            context=None if context is None else (context[0], context[1]),
            crop=None if crop is None else Crop(crop["pct"], crop["mode"], crop["interpolation"]),
        )

    @property
    def extra_inputs(self) -> list[TensorInfo]:
        """The graph's inputs after the first: the text of a diffusion block."""
        return [TensorInfo(i["name"], i["dtype"], tuple(i["shape"])) for i in self.manifest.get("extra_inputs", [])]

    @property
    def outputs(self) -> list[TensorInfo]:
        """The graph's outputs, the prediction first."""
        return [TensorInfo(i["name"], i["dtype"], tuple(i["shape"])) for i in self.manifest["outputs"]]

    @property
    def inner_outputs(self) -> list[TensorInfo]:
        """Values of the graph that are no outputs but can be asked for (decisions, low-resolution scores)."""
        return [TensorInfo(i["name"], i["dtype"], tuple(i["shape"])) for i in self.manifest["inner_outputs"]]

    @property
    def graphs(self) -> list[GraphInfo]:
        """Every graph of the bundle: those that it lists, or the model's and the policy network's."""
        listed = self.manifest.get("graphs")
        if listed is not None:
            return [
                GraphInfo(str(g["name"]), *([_tensor(i) for i in g[key]] for key in ("inputs", "outputs")))
                for g in listed
            ]
        parts = [self, *([self.policy] if self.policy is not None else [])]
        first = self.manifest["input"]
        own = TensorInfo(first["name"], first["dtype"], tuple(first["shape"]))
        return [GraphInfo(part.part, [own, *part.extra_inputs], part.outputs) for part in parts]

    @property
    def prompt(self) -> PromptFacts | None:
        """Of a language model, what it is asked and how; None of any other."""
        told = self.manifest.get("prompt")
        return None if told is None else PromptFacts.from_dict(told)

    def json(self, name: str) -> Any:
        """One of the bundle's documents, held to its model (`edgeexport.documents`).

        Raises:
            BundleError: Missing or damaged; the message names file and key.
        """
        return read_document(self.path / name, IN_A_BUNDLE[name])


@dataclass(frozen=True)
class GraphInfo:
    """A graph by the name of its file, with its inputs and outputs in order."""

    name: str
    inputs: list[TensorInfo]
    outputs: list[TensorInfo]


def _tensor(told: Any) -> TensorInfo:
    return TensorInfo(told["name"], told["dtype"], tuple(told["shape"]))


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
    manifest = read_document(path / "manifest.json", MANIFEST)
    bundle = Bundle(path, manifest)
    if "input" in manifest:
        _check_input(bundle)
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
    return bundle


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


def _check_input(bundle: Bundle) -> None:
    """Refuses an input whose sizes, channels or frames do not give its shape."""
    expected, found = list(bundle.input.shape), bundle.manifest["input"]["shape"]
    if found != expected or min(found) < 1:
        where = f"{bundle.path / 'manifest.json'}: input.shape"
        raise BundleError(where, f"is {found}, its other entries give {expected}", _AGAIN)

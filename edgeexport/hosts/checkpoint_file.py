"""Checkpoint files: a state dict out of what people have, without executing code, or what the file is instead."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from edgeexport.config.shards import INDEX_SUFFIX, keys_of_shards
from edgeexport.documents.hugging_face import HUGGING_FACE_CONFIG, HuggingFaceConfig
from edgeexport.documents.reading import read_document
from edgeexport.errors import CheckpointError

__all__ = ["Checkpoint", "checkpoint_from_file"]

# Where weights stand in a file, in the order in which timm's loader looks: averaged weights first.
_WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model", "model_state_dict", "teacher", "module", "encoder")
_USUAL = ("state_dict", "model")  # not worth a word where nothing else was there to take
_SHOWN = 4
_SAVE_TENSORS = "keep only the tensors: torch.save({'state_dict': model.state_dict()}, path), or use .safetensors"
# In messages of torch's unpickler that meets anything but tensors and plain containers.
_REFUSALS = ("nsupported global", "nsupported GLOBAL", "reduce for unrecognized", "Can only create", "Can only build")
_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"  # how the files of torch.save begin, since 1.6 and before
_OTHERS = {
    b"\x89HDF": ("an HDF5 file, as Keras writes it", "convert it to PyTorch first"),
    b"GGUF": ("a GGUF file", "give the .safetensors that it was made from"),
    b"\x93NUMPY": ("a single numpy array", "give an .npz archive of all weights"),
}
_LARGEST_RATIO = 16  # of an unpacked archive of arrays to its file; weights compress by less than 2


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds.

    Attributes:
        state: Key -> tensor; of an .npz, its own keys ('Transformer/encoderblock_0/...').
        taken: Which of several sets of weights it is, for people; empty where there is one.
        config: config.json beside it, of Hugging Face transformers; None where there is none.
    """

    state: dict[str, Tensor]
    taken: str = ""
    config: HuggingFaceConfig | None = None


def checkpoint_from_file(path: Path) -> Checkpoint:
    """Reads `.safetensors`, `.npz`, an index of several files (Hugging Face transformers), or what torch.save wrote: bare, or
    with the weights under one of the names that training scripts use. Averaged weights (EMA) are taken where there are any,
    as timm's loader does.

    Pickles are read with ``weights_only=True``: tensors and plain containers, never code. What mmengine and timm save of the
    training beside the weights is skipped.

    Raises:
        CheckpointError: Missing, truncated, not a checkpoint, or a pickle that would execute code.
    """
    if not path.is_file():
        remedy = "give the path of a .pth or .safetensors file, or a folder of Hugging Face transformers"
        raise CheckpointError(str(path), "no such checkpoint file", remedy)
    if path.name.endswith(INDEX_SUFFIX):
        return _from_shards(path)
    if path.suffix == ".safetensors":
        return Checkpoint(_safetensors(path), config=_config_beside(path))
    content = _arrays(path) if path.suffix == ".npz" else _unpickled(path)
    if not isinstance(content, Mapping):
        raise CheckpointError(str(path), f"holds a {type(content).__name__}, expected a state dict", _SAVE_TENSORS)
    return _chosen(content, path)


def _from_shards(index: Path) -> Checkpoint:
    """The weights of several files together."""
    state: dict[str, Tensor] = {}
    shards = keys_of_shards(index)
    for file, keys in shards.items():
        content = _safetensors(file) if file.suffix == ".safetensors" else _unpickled(file)
        held = _tensors(content) if isinstance(content, Mapping) else {}
        if missing := [key for key in keys if key not in held]:
            problem = f"lacks {missing[0]}, which {index.name} says it holds ({len(missing)} such keys)"
            raise CheckpointError(str(file), problem, "copy the folder again")
        state.update({key: held[key] for key in keys})
    return Checkpoint(state, f"{len(shards)} files together", _config_beside(index))


def _chosen(content: Mapping[Any, Any], path: Path) -> Checkpoint:
    """The weights in what a file holds."""
    sets = [name for name in _WRAPPERS if isinstance(content.get(name), Mapping) and _tensors(content[name])]
    if not sets and not _tensors(content):
        inner = next((content[name] for name in _WRAPPERS if isinstance(content.get(name), Mapping)), content)
        if not inner:
            raise CheckpointError(str(path), "holds an empty dict, expected a state dict", _SAVE_TENSORS)
        keys = ", ".join(map(str, list(inner)[:_SHOWN]))
        raise CheckpointError(
            str(path), f"holds no tensors (keys: {keys}), expected a state dict{_where_else(content)}", _SAVE_TENSORS
        )
    taken = f"the weights under '{sets[0]}'" if sets and (len(sets) > 1 or sets[0] not in _USUAL) else ""
    if len(sets) > 1:
        taken += f", not those under {' or '.join(repr(name) for name in sets[1:])}"
    return Checkpoint(_tensors(content[sets[0]] if sets else content), taken, _config_beside(path))


def _where_else(content: Mapping[Any, Any]) -> str:
    """Keys under which there are tensors after all."""
    found = [repr(key) for key, value in content.items() if isinstance(value, Mapping) and _tensors(value)]
    return f"; weights are under {' and '.join(found[:_SHOWN])}, which may be those of something else" if found else ""


def _tensors(content: Mapping[Any, Any]) -> dict[str, Tensor]:
    return {str(key): value for key, value in content.items() if isinstance(value, Tensor)}


def _config_beside(path: Path) -> HuggingFaceConfig | None:
    config = path.parent / "config.json"
    if path.name.partition(".")[0] not in ("model", "pytorch_model") or not config.is_file():
        return None
    return read_document(config, HUGGING_FACE_CONFIG)


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(str(path), f"damaged safetensors file ({error})", "copy or export it again") from None


def _arrays(path: Path) -> dict[str, Tensor]:
    """The arrays of an .npz, as Google publishes its ViTs; none is unpacked before their sizes are looked at."""
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked, packed = sum(entry.file_size for entry in archive.infolist()), path.stat().st_size
        if unpacked > _LARGEST_RATIO * packed:
            raise ValueError(f"unpacks to {unpacked} bytes from {packed}")
        with np.load(path, allow_pickle=False) as stored:
            return {key: torch.from_numpy(stored[key]) for key in stored.files}
    except (
        Exception
    ) as error:  # the readers of zip files and of NumPy raise whatever a damaged file makes them stumble on
        problem = f"damaged, or not a numpy archive ({type(error).__name__}: {error})"[:200]
        raise CheckpointError(str(path), problem, "copy or save it again") from None


class _TrainingState:
    """Takes the place of what training leaves beside the weights: made of nothing, keeps nothing, runs nothing."""

    def __init__(self, *arguments: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


# mmengine's checkpoints hold its message hub (histories of the losses, as numpy arrays), older ones numpy scalars; those of
# timm's and DeiT's training scripts their arguments.
_TRAINING_STATE = [
    (_TrainingState, f"{module}.{name}")
    for module, names in {
        "mmengine.logging.history_buffer": ("HistoryBuffer",),
        "argparse": ("Namespace",),
        "builtins": ("getattr",),  # the histories refer to their class's methods by it
        "numpy": ("dtype", "ndarray"),
        "numpy.core.multiarray": ("_reconstruct", "scalar"),
        "numpy._core.multiarray": ("_reconstruct", "scalar"),
    }.items()
    for name in names
]


def _unpickled(path: Path) -> object:
    """What torch.save wrote, without executing code."""
    with path.open("rb") as stream:
        start = stream.read(8)
    for magic, (what, remedy) in _OTHERS.items():
        if start.startswith(magic):
            raise CheckpointError(str(path), f"is {what}, which is no checkpoint of torch.save", remedy)
    if not start.startswith((_ZIP, _PICKLE)):
        beginning = f"begins with {start!r}" if start else "is empty"
        raise CheckpointError(
            str(path), f"{beginning}, which is no checkpoint of torch.save", "give a .pth or .safetensors file"
        )
    if start.startswith(_ZIP):
        _refuse_programs(path)
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(list(_TRAINING_STATE)):
            warnings.simplefilter("ignore")  # about pickle protocols, before the error that says it better
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged pickles raise whatever the misread instruction happens to raise
        text = str(error)
        refused = next((line for line in text.splitlines() if any(sign in line for sign in _REFUSALS)), None)
        if refused is not None:
            reason = refused.strip().split(" was not an allowed global")[0][:160]
            problem = f"its pickle would execute code, which edgeexport never allows ({reason})"
            raise CheckpointError(str(path), problem, _SAVE_TENSORS) from None
        first = (text.rpartition("WeightsUnpickler error:")[2].strip().splitlines() or ["no detail"])[0]
        detail = f"{type(error).__name__}: {first}"[:160]
        raise CheckpointError(
            str(path), f"damaged, or not a checkpoint of torch.save ({detail})", "copy or save it again"
        ) from None


def _refuse_programs(path: Path) -> None:
    """Refuses zip files that hold a program, or arrays of numpy under another name.

    Raises:
        CheckpointError: See above; a damaged archive is left to torch's message.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except Exception:
        return
    inner = {name.partition("/")[2] for name in names}
    if any(name.startswith("code/") for name in inner):
        remedy = "save its weights: torch.save(torch.jit.load(path).state_dict(), 'weights.pth')"
        raise CheckpointError(str(path), "is a TorchScript archive: a program, not weights alone", remedy)
    if any(name.startswith(("models/", "archive_format")) for name in inner | set(names)):
        remedy = "save its weights: torch.save(torch.export.load(path).state_dict, 'weights.pth')"
        raise CheckpointError(str(path), "is an archive of torch.export: a program, not weights alone", remedy)
    if names and all(name.endswith(".npy") for name in names):
        raise CheckpointError(str(path), "is a numpy archive", "rename it to .npz")

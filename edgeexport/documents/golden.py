"""golden.npz read with limits: what an array says of its size is looked at before anything is unpacked."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, NoReturn

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from edgeexport.documents.manifest import Tensor
from edgeexport.documents.reading import AGAIN
from edgeexport.errors import BundleError

__all__ = ["GoldenArrays", "read_golden"]

_MOST_ARRAYS = 4096
_UNDECLARED_BYTES = 256 << 20  # of all that the manifest has no shape for: scores, names
_LARGEST_BYTES = 4 << 30


class GoldenArrays(dict[str, NDArray]):
    """Array by name; one that is not there is a `BundleError`."""

    where = "golden.npz"

    def __missing__(self, name: str) -> NoReturn:
        raise BundleError(f"{self.where}: {name}", "is not there", AGAIN)


def read_golden(
    path: Path, manifest: Mapping[str, Any], wanted: Callable[[str], bool] = lambda name: True
) -> GoldenArrays:
    """Reads the arrays of golden.npz that are wanted.

    Args:
        path: The file.
        manifest: Of its bundle: inputs and outputs have to be of the shape and dtype that it declares.
        wanted: Tells by an array's name, such as 'case0/image'.

    Raises:
        BundleError: It is missing or damaged, or an array is not as declared, or larger than anything that belongs there.
    """
    arrays = GoldenArrays()
    arrays.where = str(path)
    declared, left = _declared(manifest), _UNDECLARED_BYTES
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if len(names) > _MOST_ARRAYS:
                raise ValueError(f"{len(names)} arrays, {_MOST_ARRAYS} are allowed")
            for file in names:
                name = file.removesuffix(".npy")
                if not wanted(name):
                    continue
                with archive.open(file) as stream:
                    tensor = declared.get(name.partition("/")[2])
                    size = _checked_size(stream, tensor, f"{path}: {name}")
                    left -= 0 if tensor is not None else size
                    if left < 0:
                        raise BundleError(f"{path}: {name}", "is larger than anything that belongs there", AGAIN)
                with archive.open(file) as stream:
                    arrays[name] = npy.read_array(stream, allow_pickle=False)
    except (BundleError, MemoryError):
        raise
    except (
        Exception
    ) as error:  # the readers of zip files and of NumPy raise whatever a damaged file makes them stumble on
        raise BundleError(str(path), f"cannot be read ({error})", AGAIN) from None
    _check_cases(arrays)
    return arrays


def _declared(manifest: Mapping[str, Any]) -> dict[str, Tensor]:
    """What the manifest says of an array, by its name behind the case's."""
    first = manifest.get("input")
    found = {} if first is None or "dtype" not in first else {"image": first}
    extra = manifest.get("extra_inputs", ())
    found |= {f"input/{item['name']}": item for item in extra}
    found |= {item["name"]: item for item in extra if manifest.get("policy")}  # the policy's choice is also an outcome
    return found | {item["name"]: item for key in ("outputs", "inner_outputs") for item in manifest.get(key, ())}


def _checked_size(stream: IO[bytes], tensor: Tensor | None, where: str) -> int:
    """Bytes of an array, by its header alone.

    Raises:
        ValueError: No header of an array. BundleError: Not as declared, or too large.
    """
    version = npy.read_magic(stream)
    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"an array of format {version}")
    try:
        shape, _, dtype = readers[version](stream)
    except Exception as error:  # it is read as Python: ValueError, TokenError, RecursionError, MemoryError, ...
        raise ValueError(f"no header of an array ({error})") from None
    if dtype.kind not in "biufU":
        raise BundleError(where, f"holds values of {dtype}, expected numbers or text", AGAIN)
    if tensor is not None and (list(shape) != list(tensor["shape"]) or dtype.name != tensor["dtype"]):
        expected = f"{tensor['dtype']} {list(tensor['shape'])}, as manifest.json says"
        raise BundleError(where, f"is {dtype.name} {list(shape)}, expected {expected}", AGAIN)
    size = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or size > _LARGEST_BYTES:
        raise BundleError(where, f"has the shape {list(shape)}, more than {_LARGEST_BYTES >> 20} MiB", AGAIN)
    return size


def _check_cases(arrays: GoldenArrays) -> None:
    """That what belongs to one case goes together."""
    for case in {name.partition("/")[0] for name in arrays if name.endswith("/names")}:
        image, names = arrays[f"{case}/image"], arrays[f"{case}/names"]
        if names.ndim != 1 or not image.ndim or len(names) != len(image):
            raise BundleError(f"{arrays.where}: {case}/names", "expected one name for each image", AGAIN)
        ties = arrays.get(f"{case}/near_tie")
        pixels = 0 if ties is None else arrays[f"{case}/class_map"].size
        if ties is not None and (ties.dtype != np.uint8 or ties.shape != (math.ceil(pixels / 8),)):
            raise BundleError(f"{arrays.where}: {case}/near_tie", "expected one bit for each pixel", AGAIN)

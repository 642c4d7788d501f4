"""A dynamic ONNX file made static: ONNX Runtime's own tool sets the input shapes, and both files are run to compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from edgeexport.bundle.files import disk_errors, replaced_file
from edgeexport.device.plain_session import plain_session
from edgeexport.errors import EdgeExportError, ParityError, UsageError
from edgeexport.graph.inline import folded_skeleton
from edgeexport.graph.skeleton import skeleton_from_model
from edgeexport.ops.onnx_reading import has_external_data, model_from_file

__all__ = ["FixedFile", "fixed_file", "input_shapes_from_options"]

_RELATIVE = 1e-5  # of the largest value; both runs are unoptimised, so that mostly nothing differs
_EXPORT = "nothing was written; export the model with fixed shapes instead"


@dataclass(frozen=True)
class FixedFile:
    """A static file that was written; ``largest_difference`` is that of its outputs to the original's, on seeded inputs."""

    path: str
    inputs: dict[str, tuple[int, ...]]
    largest_difference: float


def input_shapes_from_options(options: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Shapes by input from ``NAME=1,3,224,224``, or ``NAME:1x3x224x224`` as trtexec has it.

    Raises:
        UsageError: Not of that form.
    """
    shapes = {}
    for option in options:
        name, mark, text = option.rpartition("=" if "=" in option else ":")
        parts = text.split("," if mark == "=" else "x")
        if not name or not all(part.strip().isdecimal() and 0 < int(part) < 2**31 for part in parts):
            raise UsageError(
                f"--input-shape {option}", "expected NAME=1,3,224,224", "give the input's name and whole numbers from 1"
            )
        shapes[name] = tuple(int(part) for part in parts)
    return shapes


def fixed_file(path: Path, target: Path, shapes: Mapping[str, tuple[int, ...]]) -> FixedFile:
    """Writes a static form of an ONNX file, whole or not at all; weights in other files stay there and are shared.

    Args:
        path: The dynamic file; unchanged.
        target: Where the static one goes.
        shapes: Of its dynamic inputs, by name.

    Raises:
        UsageError: No readable file, a shape that does not fit, a place that its weights cannot be found from, or a model
            that ONNX Runtime does not run with these shapes.
        ParityError: The static file computes something else.
        BuildError: It cannot be written.
    """
    model = model_from_file(path)
    if target.exists() and target.samefile(path):
        raise UsageError(f"--fix {target}", "is the file itself, which stays as it is", "give another name")
    if has_external_data(model) and target.parent.resolve() != path.parent.resolve():
        raise UsageError(
            f"--fix {target}", f"shares the weights beside {path}, and lies elsewhere", f"put it into {path.parent}"
        )
    _set_shapes(path, model, shapes)
    with disk_errors(target, "choose another place for --fix"), replaced_file(target) as stream:
        stream.write(model.SerializeToString())
        stream.flush()
        difference = _largest_difference(path, Path(stream.name), model)
    return FixedFile(str(target), {name: tuple(shape) for name, shape in shapes.items()}, difference)


def _set_shapes(path: Path, model: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]]) -> None:
    from onnxruntime.tools.onnx_model_utils import is_fixed_size_tensor, make_input_shape_fixed

    for name, shape in shapes.items():
        try:
            make_input_shape_fixed(model.graph, name, list(shape))
        except ValueError as error:
            option = f"--input-shape {name}={','.join(map(str, shape))}"
            raise UsageError(option, f"does not fit {path}: {error}", "give a shape that the input can have") from error
    open_inputs = [value.name for value in _real_inputs(model) if not is_fixed_size_tensor(value)]
    if open_inputs:
        raise UsageError(str(path), f"inputs {', '.join(open_inputs)} stay dynamic", "give --input-shape for each")
    # What is known of other values was said of the dynamic model.
    known = [value for value in model.graph.value_info if is_fixed_size_tensor(value)]
    del model.graph.value_info[:]
    model.graph.value_info.extend(known)
    try:
        seen = folded_skeleton(skeleton_from_model(model, base_dir=path.parent).model)
        inferred = onnx.shape_inference.infer_shapes(seen, data_prop=True).graph.output
    except EdgeExportError:
        raise
    except Exception:  # the lint of the written file says what is wrong
        return
    for declared, found in zip(model.graph.output, inferred, strict=True):
        if not is_fixed_size_tensor(declared) and is_fixed_size_tensor(found):
            declared.type.CopyFrom(found.type)


def _largest_difference(path: Path, fixed: Path, model: onnx.ModelProto) -> float:
    rng = np.random.default_rng(0)
    feed = {value.name: _values(rng, value.type.tensor_type) for value in _real_inputs(model)}
    try:
        expected = _outputs(path, feed)
    except Exception as error:  # ONNX Runtime's, of many classes
        raise UsageError(
            str(path), f"does not run in ONNX Runtime with these shapes: {_line(error)}", "give others by --input-shape"
        ) from error
    try:
        found = _outputs(fixed, feed)
    except Exception as error:
        raise ParityError(str(path), f"runs, its static form does not: {_line(error)}", _EXPORT) from error
    largest = 0.0
    for value, one, two in zip(model.graph.output, expected, found, strict=True):
        if isinstance(one, list) or one.size == 0:
            continue
        one, two = np.asarray(one, np.float64), np.asarray(two, np.float64)
        if one.shape != two.shape or not np.allclose(one, two, _RELATIVE, _RELATIVE * _scale(one), equal_nan=True):
            raise ParityError(str(path), f"its static form gives another '{value.name}' on seeded inputs", _EXPORT)
        largest = max(largest, float(np.nan_to_num(np.abs(one - two)).max()))
    return largest


def _scale(values: np.ndarray) -> float:
    finite = np.abs(values[np.isfinite(values)])
    return float(finite.max()) if finite.size else 0.0


def _outputs(path: Path, feed: dict[str, np.ndarray]) -> list[Any]:
    return list(plain_session(path).run(None, feed))


def _values(rng: np.random.Generator, tensor: onnx.TypeProto.Tensor) -> np.ndarray:
    """Normal numbers; of whole ones 0 and 1, which are indices wherever there are two of anything."""
    shape = [dim.dim_value for dim in tensor.shape.dim]
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
    floating = np.issubdtype(dtype, np.floating)
    return (rng.standard_normal(shape) if floating else rng.integers(0, 2, shape)).astype(dtype)


def _real_inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    constants = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in constants]


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:400]

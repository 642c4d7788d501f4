"""Reading a user's ONNX file without its external weights, with an error for each way in which that can fail."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

import onnx
from google.protobuf.message import DecodeError
from onnx import external_data_helper

from edgeexport.errors import UsageError

__all__ = ["has_external_data", "model_from_file"]

_PROTOBUF_LIMIT_BYTES = 2**31 - 1
_LFS_POINTER = b"version https://git-lfs"


def model_from_file(path: Path) -> onnx.ModelProto:
    """Reads the graph; weights in external files stay there, but their presence and size are checked.

    Raises:
        UsageError: The path is not a readable ONNX model, or an external data file is missing, too short, or outside
            the model's folder.
    """
    if path.is_dir():
        raise UsageError(str(path), "is a folder, expected an ONNX file", f"name the file, e.g. {path / 'model.onnx'}")
    try:
        size = path.stat().st_size
        if size > _PROTOBUF_LIMIT_BYTES:
            raise UsageError(
                str(path),
                f"has {size} bytes, protobuf's limit is {_PROTOBUF_LIMIT_BYTES}",
                "save the model with external data (torch.onnx.export: external_data=True)",
            )
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise UsageError(str(path), "no such file, expected an ONNX model", "check the path") from error
    except OSError as error:
        raise UsageError(str(path), f"cannot be read: {error.strerror or error}", "check the file") from error
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except DecodeError as error:
        raise _not_onnx(path, content) from error
    if not model.HasField("graph") or model.ir_version < 1:
        raise _not_onnx(path, content)
    _check_external_data(path, model)
    return model


def has_external_data(model: onnx.ModelProto) -> bool:
    """Whether weights lie in other files."""
    return any(external_data_helper.uses_external_data(tensor) for tensor in _tensors(model))


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every tensor: weights, and values of attributes, of nested graphs and of functions too."""
    yield from _tensors_of_graph(model.graph)
    for function in model.functions:
        yield from _tensors_of_nodes(function.node)


def _tensors_of_graph(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    yield from _tensors_of_nodes(graph.node)


def _tensors_of_nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.TensorProto]:
    for attribute in (item for node in nodes for item in node.attribute):
        yield from (attribute.t, *attribute.tensors)
        for nested in (attribute.g, *attribute.graphs):
            yield from _tensors_of_graph(nested)


def _not_onnx(path: Path, content: bytes) -> UsageError:
    if content.startswith(_LFS_POINTER):
        return UsageError(str(path), "is a git-lfs pointer, expected an ONNX model", "run `git lfs pull`")
    what = "is empty" if not content else f"is not an ONNX model ({len(content)} bytes, starts with {content[:12]!r})"
    return UsageError(str(path), what, "give a file written by torch.onnx.export or onnx.save")


def _check_external_data(path: Path, model: onnx.ModelProto) -> None:
    """Every tensor that lives in another file must be there in full, beside the model."""
    for tensor in _tensors(model):
        if not external_data_helper.uses_external_data(tensor):
            continue
        try:
            info = external_data_helper.ExternalDataInfo(tensor)
        except Exception as error:  # onnx's own, or of numbers that are none
            raise UsageError(
                str(path),
                f"weight '{tensor.name}' points nowhere: {error}",
                "save the model again with onnx.save_model",
            ) from error
        location = PurePosixPath(info.location)
        if location.is_absolute() or ".." in location.parts:
            raise UsageError(
                str(path),
                f"weight '{tensor.name}' points to '{location}', expected a file beside the model",
                "save the model again with onnx.save_model(..., location=<file name>)",
            )
        file = path.parent / location
        if not file.is_file():
            raise UsageError(
                str(path),
                f"external data file '{location}' is missing (weight '{tensor.name}')",
                f"put it beside the model, in {path.parent}",
            )
        needed = (info.offset or 0) + (info.length or 0)
        if file.stat().st_size < needed:
            raise UsageError(
                str(path),
                f"external data file '{location}' has {file.stat().st_size} bytes, '{tensor.name}' ends at {needed}",
                "copy the file again: it was cut short",
            )

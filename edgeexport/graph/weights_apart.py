"""Weights in a file beside the graphs: those of a model that is too large for one ONNX file, and those that graphs share.

protobuf serialises no message of more than 2 GiB, and holds a copy of every weight in memory. So the weights of a large model
leave its graphs as soon as torch has exported them, into a file of this process that goes when it ends; what passes
compute anew (folded biases, float16) follows them there. Passes see them as onnx_ir's external tensors, mapped into memory
where they are read. A bundle gets one file with what its graphs refer to, every weight once.
"""

from __future__ import annotations

import atexit
import hashlib
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from math import prod
from pathlib import Path
from typing import BinaryIO

import onnx
import onnx_ir as ir
from onnx import external_data_helper, numpy_helper

from edgeexport.bundle.places import WEIGHTS_FILE
from edgeexport.device.remains import temporary_folder
from edgeexport.graph.skeleton import SMALL_TENSOR_ELEMENTS, model_from_skeleton, skeleton_from_model
from edgeexport.ops.onnx_reading import has_external_data, model_from_file

__all__ = [
    "IN_MEMORY_BYTES",
    "IN_ONE_FILE_BYTES",
    "WEIGHTS_DIGEST",
    "WEIGHTS_FOLDER",
    "graph_of_file",
    "model_file",
    "program_of",
    "put_weights_apart",
    "weights_bytes",
    "weights_folder",
    "with_weights_apart",
    "write_graphs",
]

IN_MEMORY_BYTES = 1 << 30
"""Weights of a model that is exported; above, they leave the graphs."""

IN_ONE_FILE_BYTES = 32 << 20
"""Weights of a bundle's graph; above, all graphs of the bundle share one file of them, and a build keeps them in none."""

WEIGHTS_DIGEST = "edgeexport.weights_sha256"
"""Metadata of a graph whose weights lie apart: the file's hash, so that the graph's own hash tells other weights."""

WEIGHTS_FOLDER = "edgeexport.weights_folder"
"""Metadata of a graph in memory whose weights lie apart: where. Never written."""

_ALIGNMENT = 4096  # memory pages: what a runtime maps has to start on one


class _WeightsFile:
    """A file of weights, each once, however often it is put there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stream: BinaryIO = path.open("wb", buffering=0)
        self._places: dict[bytes, int] = {}
        self._end = 0
        self._digest = hashlib.sha256()

    def place(self, content: bytes | memoryview) -> int:
        """The offset of ``content``, which is written where it is new.

        Raises:
            OSError: It cannot be written.
        """
        key = hashlib.sha256(content).digest()
        if key not in self._places:
            self._places[key] = self._end
            for part in (content, bytes(-len(content) % _ALIGNMENT)):
                rest = memoryview(part)
                while rest:
                    rest = rest[self._stream.write(rest) :]
                self._digest.update(part)
                self._end += len(part)
        return self._places[key]

    def close(self) -> str:
        """Closes the file; its SHA-256."""
        self._stream.close()
        return self._digest.hexdigest()


_own: list[_WeightsFile] = []


def _own_file() -> _WeightsFile:
    """This process's, made when it is needed and removed when the process ends."""
    if not _own:
        stack = ExitStack()
        atexit.register(stack.close)
        _own.append(_WeightsFile(stack.enter_context(temporary_folder()) / WEIGHTS_FILE))
    return _own[0]


def put_weights_apart(program: ir.Model, *, always: bool = False) -> None:
    """Moves the large weights of a model into this process's file, in place, where together they exceed `IN_MEMORY_BYTES`.

    A model whose weights lie there already gets those that passes made since moved as well.

    Args:
        program: Without nested graphs. Weights of up to `SMALL_TENSOR_ELEMENTS` elements stay.
        always: Whatever their size.

    Raises:
        OSError: The file cannot be written.
    """
    large = [value for value in program.graph.initializers.values() if _is_large(value.const_value)]
    size = sum(value.const_value.nbytes for value in large if value.const_value is not None)
    if not (always or WEIGHTS_FOLDER in program.metadata_props or size > IN_MEMORY_BYTES):
        return
    file = _own_file()
    for value in large:
        tensor = value.const_value
        assert tensor is not None
        lies_there = isinstance(tensor, ir.ExternalTensor) and Path(tensor.base_dir) == file.path.parent
        offset = None if lies_there else file.place(tensor.tobytes())
        if isinstance(tensor, ir.ExternalTensor):
            tensor.release()  # what was read of it
        if offset is None:
            continue
        value.const_value = ir.ExternalTensor(
            WEIGHTS_FILE,
            offset,
            tensor.nbytes,
            tensor.dtype,
            shape=ir.Shape(tensor.shape.numpy()),
            name=str(value.name),
            base_dir=file.path.parent,
        )
    program.metadata_props[WEIGHTS_FOLDER] = str(file.path.parent)


def with_weights_apart(model: onnx.ModelProto, *, always: bool = False) -> onnx.ModelProto:
    """The model with its large weights in this process's file: one with more than `IN_ONE_FILE_BYTES` of them, or any.

    What is derived of it keeps none in memory, however many forms there are. A model with fewer is returned itself.
    """
    if weights_folder(model) is not None or not (always or weights_bytes(model) > IN_ONE_FILE_BYTES):
        return model
    program = ir.from_proto(model)
    put_weights_apart(program, always=True)
    return ir.to_proto(program)


def weights_bytes(model: onnx.ModelProto) -> int:
    """Of all weights, wherever they lie."""
    types = {tensor.data_type for tensor in model.graph.initializer}
    bits = {kind: ir.DataType(kind).bitwidth for kind in types if kind != onnx.TensorProto.STRING}
    return sum(prod(tensor.dims) * bits.get(tensor.data_type, 0) // 8 for tensor in model.graph.initializer)


def _is_large(tensor: ir.TensorProtocol | None) -> bool:
    return tensor is not None and tensor.size > SMALL_TENSOR_ELEMENTS


def graph_of_file(path: Path) -> onnx.ModelProto:
    """Reads a bundle's graph; weights that lie apart stay there.

    Raises:
        UsageError: See `edgeexport.ops.onnx_reading.model_from_file`.
    """
    model = model_from_file(path)
    if has_external_data(model):
        model.metadata_props.add(key=WEIGHTS_FOLDER, value=str(path.parent))
    return model


def program_of(model: onnx.ModelProto) -> ir.Model:
    """`onnx_ir.from_proto` for a graph whose weights may lie apart."""
    program = ir.from_proto(model)
    folder = weights_folder(model)
    if folder is not None:
        ir.external_data.set_base_dir(program.graph, folder)
    return program


def weights_folder(model: onnx.ModelProto) -> Path | None:
    """Where the weights of a graph in memory lie, for who runs it; None: in the graph."""
    return next((Path(item.value) for item in model.metadata_props if item.key == WEIGHTS_FOLDER), None)


def model_file(model: onnx.ModelProto, folder: Path, name: str) -> Path:
    """Writes a graph that another process is to read, and that the caller removes: into ``folder``, or beside its weights in
    this process's folder.
    """
    where = weights_folder(model)
    if where is not None and _own and where == _own[0].path.parent:
        folder = where
    elif where is not None:  # a bundle's, into which nothing is written
        (folder / WEIGHTS_FILE).symlink_to((where / WEIGHTS_FILE).resolve())
    path = folder / name
    path.write_bytes(model.SerializeToString(deterministic=True))
    return path


def write_graphs(folder: Path, graphs: Mapping[str, onnx.ModelProto]) -> None:
    """Writes a bundle's graphs by name; where one has more than `IN_ONE_FILE_BYTES` of weights, with `WEIGHTS_FILE` for all.

    Raises:
        OSError: They cannot be written.
    """
    apart = any(weights_folder(graph) or _large_bytes(graph) > IN_ONE_FILE_BYTES for graph in graphs.values())
    written = dict(graphs)
    if apart:
        file = _WeightsFile(folder / WEIGHTS_FILE)
        written = {name: _refering(graph, file.place) for name, graph in graphs.items()}
        digest = file.close()
        for graph in written.values():
            graph.metadata_props.add(key=WEIGHTS_DIGEST, value=digest)
    for name, graph in written.items():
        (folder / name).write_bytes(graph.SerializeToString(deterministic=True))


def _large_bytes(model: onnx.ModelProto) -> int:
    return sum(len(tensor.raw_data) for tensor in model.graph.initializer)


def _refering(model: onnx.ModelProto, place: Callable[[bytes], int]) -> onnx.ModelProto:
    """A copy whose large weights are references into the file that ``place`` writes."""
    skeleton = skeleton_from_model(model)
    folder = weights_folder(model)
    for name, tensor in skeleton.weights.items():
        content = _content(tensor, folder)
        apart = onnx.TensorProto(name=name, data_type=tensor.data_type, dims=tensor.dims)
        apart.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", WEIGHTS_FILE), ("offset", place(content)), ("length", len(content))):
            apart.external_data.add(key=key, value=str(value))
        skeleton.weights[name] = apart
    result = model_from_skeleton(skeleton)
    kept = [item for item in result.metadata_props if item.key != WEIGHTS_FOLDER]
    del result.metadata_props[:]
    result.metadata_props.extend(kept)
    return result


def _content(tensor: onnx.TensorProto, folder: Path | None) -> bytes:
    if not external_data_helper.uses_external_data(tensor):
        return tensor.raw_data or numpy_helper.to_array(tensor).tobytes()
    assert folder is not None
    info = external_data_helper.ExternalDataInfo(tensor)
    with (folder / info.location).open("rb") as stream:
        stream.seek(info.offset or 0)
        return stream.read(info.length)

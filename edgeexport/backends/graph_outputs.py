"""Makes inner values of a serialized ONNX graph its outputs, without the onnx package (the device has none).

Protocol Buffers define that concatenated messages merge: singular submessages merge field by field, repeated fields
append. So a few bytes behind the file, holding ``ModelProto{graph{output: [...]}}``, add graph outputs.
Field numbers are those of onnx.proto, which never change.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgeexport.bundle.tensor_info import TensorInfo

__all__ = ["appended_outputs"]

_ELEMENT_TYPE = {"float32": 1, "uint8": 2, "int32": 6, "int64": 7, "bool": 9, "float16": 10}


def appended_outputs(outputs: Sequence[TensorInfo]) -> bytes:
    """Bytes that, put behind a serialized ModelProto, append ``outputs`` to its graph outputs."""
    return _field(7, b"".join(_field(12, _value_info(output)) for output in outputs))


def _value_info(info: TensorInfo) -> bytes:
    dims = b"".join(_field(1, _number(1, size)) for size in info.shape)
    tensor_type = _number(1, _ELEMENT_TYPE[info.dtype]) + _field(2, dims)
    return _field(1, info.name.encode()) + _field(2, _field(1, tensor_type))


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _number(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])

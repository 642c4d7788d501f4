"""A recipe's ``head``: a decoder of the user's, an ONNX file, that is appended to a model's features."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeexport.config.paths import absolute_path, shown_path
from edgeexport.config.place import Place
from edgeexport.config.values import mapping, sequence, string
from edgeexport.errors import nearest_hint

if TYPE_CHECKING:
    import onnx

__all__ = ["DECODER_FILE", "DecoderSpec", "decoder_from_config", "decoder_inputs"]

DECODER_FILE = "decoder.onnx"
"""Its name in a bundle."""

_STANDARD = ("", "ai.onnx")


@dataclass(frozen=True)
class DecoderSpec:
    """An ONNX file that is appended.

    Attributes:
        path: The file, absolute.
        sha256: Of its content.
        reads: Outputs of the model, in the order of the file's ``inputs``.
        inputs, outputs: Names in the file; the first output is the prediction.
    """

    path: Path
    sha256: str
    reads: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def decoder_inputs(value: object, place: Place) -> tuple[str, ...]:
    """The outputs of the model that ``head=dict(onnx=..., input=...)`` reads: a name or a list; none without a head.

    Raises:
        RecipeError: Keys are unknown or missing.
    """
    if value is None:
        return ()
    config = mapping(value, place, ("input", "onnx"))
    for key, example in (("onnx", "onnx='decoder.onnx'"), ("input", "input='features'")):
        if key not in config:
            raise place.missing(key, example)
    given, at = config["input"], place.at("input")
    if isinstance(given, str):
        return (string(given, at),)
    return tuple(string(name, at.at(position)) for position, name in enumerate(sequence(given, at)))


def decoder_from_config(
    value: object, place: Place, folder: Path, shapes: Mapping[str, tuple[int, ...]], taken: Sequence[str]
) -> DecoderSpec | None:
    """Validates ``head`` against the file: names, number and shapes of its inputs, names of its outputs.

    Args:
        value: ``dict(onnx, input)``, or None.
        place: Where it stands.
        folder: The file is relative to it.
        shapes: Of what the model gives out, float32, by name.
        taken: Names that an output of the file must not have.

    Raises:
        RecipeError: It is no ONNX file of standard operators without external weights, or does not fit.
    """
    reads = decoder_inputs(value, place)
    if not reads:
        return None
    assert isinstance(value, Mapping)
    for name in reads:
        if name not in shapes:
            remedy = nearest_hint(name, shapes) if shapes else "use a model of timm"
            raise place.at("input").error(name, "this model gives no such features", remedy)
    at = place.at("onnx")
    path = absolute_path(folder / string(value["onnx"], at))
    model, content = _read(path, value["onnx"], at)
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [item for item in model.graph.input if item.name not in weights]
    if len(inputs) != len(reads):
        found = (
            f"it has {len(inputs)} inputs ({', '.join(item.name for item in inputs)}), head.input names {len(reads)}"
        )
        raise at.error(value["onnx"], found, "name one output of the model for each, in the same order")
    for item, name in zip(inputs, reads, strict=True):
        _check_input(item, name, shapes, value["onnx"], at)
    outputs = tuple(item.name for item in model.graph.output)
    double = next((name for name in outputs if name in taken), None)
    if double is not None:
        raise at.error(
            value["onnx"], f"its output {double!r} is called as one of the model's own", "rename it in the file"
        )
    return DecoderSpec(path, hashlib.sha256(content).hexdigest(), reads, tuple(item.name for item in inputs), outputs)


def _read(path: Path, shown: object, place: Place) -> tuple[onnx.ModelProto, bytes]:
    import onnx  # not at the top: most recipes do without
    from google.protobuf.message import DecodeError

    if not path.is_file():
        raise place.error(shown, f"no such file: {shown_path(path)}", "give a path relative to the recipe")
    content = path.read_bytes()
    try:
        model = onnx.load_model_from_string(content)
        onnx.checker.check_model(model)
    except (DecodeError, onnx.checker.ValidationError, ValueError) as error:
        reason = (str(error).strip().splitlines() or ["no reason given"])[0][:160]
        raise place.error(
            shown, f"is no valid ONNX file ({reason})", "export it again, with its weights inside"
        ) from None
    foreign = sorted({f"{node.domain}::{node.op_type}" for node in model.graph.node if node.domain not in _STANDARD})
    nested = sorted({node.op_type for node in model.graph.node if any(a.HasField("g") for a in node.attribute)})
    for names, what in ((foreign, "operators or functions of its own"), (nested, "nested graphs")):
        if names:
            problem = f"has {what} ({', '.join(names[:4])}), and only plain standard operators can be appended"
            raise place.error(shown, problem, "export it without them")
    return model, content


def _check_input(
    item: onnx.ValueInfoProto, name: str, shapes: Mapping[str, tuple[int, ...]], shown: object, place: Place
) -> None:
    import onnx

    tensor, given = item.type.tensor_type, shapes[name]
    wanted = [dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim]
    is_float = tensor.elem_type == onnx.TensorProto.FLOAT
    if is_float and (_fits(wanted, given) or not tensor.HasField("shape")):
        return
    kind = "" if is_float else f"{onnx.TensorProto.DataType.Name(tensor.elem_type).lower()} "
    listed = ", ".join("?" if size is None else str(size) for size in wanted)
    problem = f"its input {item.name!r} is {kind}({listed}), and {name} are float32 {given}"
    others = [other for other, shape in shapes.items() if _fits(wanted, shape)]
    remedy = f"read {' or '.join(others)}" if others else "export the decoder for that shape, or set model.img_size"
    raise place.error(shown, problem, remedy)


def _fits(wanted: Sequence[int | None], shape: Sequence[int]) -> bool:
    return len(wanted) == len(shape) and all(a in (None, b) for a, b in zip(wanted, shape, strict=True))

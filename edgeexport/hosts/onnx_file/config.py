"""From a recipe's ``model=dict(type='onnx_file')`` and its checkpoint, an ONNX file, to a spec; and from a path to a recipe."""

from __future__ import annotations

from pathlib import Path

from onnx import TensorProto

from edgeexport.bundle import sha256_of
from edgeexport.config.place import Place
from edgeexport.config.values import integer, mapping, pair, string
from edgeexport.hosts.onnx_file.plain import input_of_file, loaded
from edgeexport.hosts.onnx_file.refused import NotRecognised
from edgeexport.hosts.onnx_file.spec import OnnxFileSpec
from edgeexport.hosts.onnx_file.tables import row_width
from edgeexport.hosts.onnx_file.vit import FileVit, Reading, opened_file
from edgeexport.hosts.onnx_file.work import block_work, part_macs

__all__ = ["onnx_config_of_path", "onnx_file_spec", "vit_of_spec"]

_KEYS = ("image", "prefix", "type", "unmerge_before")
_SIDE = 224


def onnx_config_of_path(path: str) -> dict[str, object]:
    """A recipe's plain data for a file: its own input, one image where it leaves their number open.

    Raises:
        UsageError: It is no ONNX file of an image model.
    """
    _, sizes = input_of_file(loaded(Path(path)), path)
    defaults = (1, 3, _SIDE, _SIDE)
    shape = [size or default for size, default in zip(sizes, defaults, strict=True)]
    opened = sizes[2] is None or sizes[3] is None
    model = {"type": "onnx_file", **({"image": shape[2:]} if opened else {})}
    return {"model": model, "checkpoint": Path(path).name, "input": {"shape": shape}}


def onnx_file_spec(value: object, place: Place, file: Path | None) -> OnnxFileSpec:
    """Validates ``model`` and recognises the file.

    Raises:
        RecipeError: A key is unknown or wrong, or there is no file.
        UsageError: The file is not what can be reduced.
    """
    given = mapping(value, place, _KEYS)
    if file is None:
        raise place.missing("checkpoint", "checkpoint='model.onnx' beside model (or --checkpoint model.onnx)")
    image = None if given.get("image") is None else pair(given["image"], place.at("image"))
    prefix = None if given.get("prefix") is None else integer(given["prefix"], place.at("prefix"), minimum=0)
    before = (
        None if given.get("unmerge_before") is None else string(given["unmerge_before"], place.at("unmerge_before"))
    )
    reading = Reading(image, prefix, before)
    digest = sha256_of(file)
    return _spec(opened_file(file, digest, reading), file, digest, reading)


def vit_of_spec(spec: OnnxFileSpec, batch: int) -> FileVit:
    """The file opened for so many images, where it leaves their number open; else as it is."""
    asked = batch if spec.batch is None and batch != 1 else None  # one image is how an open batch was read already
    reading = Reading(spec.image, spec.prefix, spec.unmerge_before, asked)
    return opened_file(spec.file, spec.sha256, reading)


def _spec(vit: FileVit, file: Path, digest: str, reading: Reading) -> OnnxFileSpec:
    graph = vit.graph
    shapes = [graph.shapes[name] for name in graph.outputs]
    for name, shape in zip(graph.outputs, shapes, strict=True):
        if not shape or shape[0] != vit.batch:
            problem = f"its output '{name}' is {list(shape)}, and images first were looked for"
            raise NotRecognised(vit.path, problem, "export it with the batch as the first axis of every output")
    return OnnxFileSpec(
        type="onnx_file",
        file=file,
        sha256=digest,
        image=reading.image,
        prefix=reading.prefix,
        unmerge_before=reading.unmerge_before,
        batch=None if vit.open_batch else vit.batch,
        input=graph.input,
        size=vit.image[1:],
        outputs=graph.outputs,
        output_shapes=tuple(shape[1:] for shape in shapes),
        floats=tuple(name for name in graph.outputs if graph.dtypes[name] == TensorProto.FLOAT),
        tokens=vit.tokens,
        num_prefix=vit.prefix,
        grid=vit.grid,
        width=vit.width,
        heads=vit.heads,
        reads=vit.reads,
        keeps_merged=vit.keeps_merged and len(vit.reads) == 1,
        rotary=bool(row_width(vit)),
        blocks=tuple(block_work(vit, block) for block in vit.blocks),
        embedding=part_macs(graph, vit.opening) // vit.batch,
        tail=part_macs(graph, vit.tail) // vit.batch,
    )

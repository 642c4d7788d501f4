"""Damaged ONNX files, pictures, label maps and checkpoints."""

from __future__ import annotations

import contextlib
import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import torch
from base import Executed, command, replaced
from damage import apply_bytes, apply_document, byte_edits, document_edits, values
from hypothesis import strategies as st
from kind import Kind
from onnx import TensorProto, helper

__all__ = ["FILE_KINDS"]


def _onnx_files(base: Path) -> st.SearchStrategy[Any]:
    edit = st.fixed_dictionaries(
        {
            "what": st.sampled_from(
                ["node", "input", "output", "op", "domain", "attribute", "dims", "type", "external", "opset", "names",
                 "drop", "swap", "nest", "value_info", "data"]
            ),
            "at": st.integers(0, 20),
            "number": st.sampled_from([0, 1, -1, 2, 3, 7, 2**31, 2**40, 2**62, -(2**62), 999]),
            "text": st.sampled_from(
                ["", "x", "w", "y", "../../etc/passwd", "/etc/passwd", "\x1b[31m", "a\nb", "[red]", "Loop", "Scan", "Cast",
                 "Concat", "If", "LSTM", "Einsum", "QuantizeLinear", "ai.onnx.ml", "k" * 300]
            ),
        }
    )  # fmt: skip
    return st.fixed_dictionaries(
        {
            "edits": st.lists(edit, max_size=4),
            "bytes": st.none() | byte_edits,
            "command": st.sampled_from(
                ["lint m.onnx", "lint m.onnx --json", "inspect m.onnx", "inspect m.onnx --json",
                 "lint m.onnx --fix f.onnx --input-shape x=1,3,8,8"]
            ),
        }
    )  # fmt: skip


def _read_onnx(damage: Any, folder: Path) -> None:
    _damage_model(damage, folder / "m.onnx")
    command(*damage["command"].split())


def _read_decoder(damage: Any, folder: Path) -> None:
    from edgeexport.config.place import Place
    from edgeexport.fixed.decoder import Decoder
    from edgeexport.graph.decoder import append_decoder
    from edgeexport.recipe.decoder import decoder_from_config

    _damage_model(damage, folder / "d.onnx")
    place, shapes = Place("tiny.py").at("head"), {"features": (1, 6, 4)}
    spec = decoder_from_config({"onnx": "d.onnx", "input": "features"}, place, folder, shapes, ("features",))
    assert spec is not None
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, 6, 4)) for name in ("image", "features")]
    host = helper.make_graph([helper.make_node("Neg", ["image"], ["features"])], "host", ends[:1], ends[1:])
    append_decoder(helper.make_model(host, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), spec)
    Decoder(spec)({"features": torch.zeros(1, 6, 4)})


def _damage_model(damage: Any, file: Path) -> None:
    model = onnx.load(file)
    for edit in damage["edits"]:
        with contextlib.suppress(IndexError, ValueError, TypeError):
            _edit_model(model, **edit)
    content = model.SerializeToString()
    if damage["bytes"]:
        content = apply_bytes(content, damage["bytes"])
    replaced(file, content)


def _edit_model(model: onnx.ModelProto, what: str, at: int, number: int, text: str) -> None:
    graph = model.graph
    node = graph.node[at % len(graph.node)]
    tensor = graph.initializer[at % len(graph.initializer)]
    value = [*graph.input, *graph.output, *graph.value_info][at % (len(graph.input) + len(graph.output))]
    match what:
        case "node":
            graph.node.append(node)
        case "input":
            node.input[at % len(node.input)] = text
        case "output":
            node.output[at % len(node.output)] = text
        case "op":
            node.op_type = text
        case "domain":
            node.domain = text
        case "attribute":
            node.attribute.append(helper.make_attribute(("axis", "pads", "mode", "to")[at % 4], [number, number]))
        case "dims":
            tensor.dims[:] = [number] * (at % 6)
        case "type":
            tensor.data_type = value.type.tensor_type.elem_type = number % (1 << 31)
        case "external":
            tensor.data_location = TensorProto.EXTERNAL
            tensor.external_data.add(key="location", value=text)
            tensor.external_data.add(key="length", value=str(number))
        case "opset":
            model.opset_import[0].version = number
        case "names":
            node.name = value.name = tensor.name = text
        case "drop":
            del graph.node[at % len(graph.node)]
        case "swap":
            graph.node.insert(0, graph.node.pop())
        case "nest":
            body = graph
            for _ in range(min(abs(number), 30)):
                branch = helper.make_graph([], "deep", [], [])
                body.node.append(helper.make_node("If", ["yes"], [f"o{len(body.node)}"], then_branch=branch))
                body = body.node[-1].attribute[0].g
        case "value_info":
            graph.value_info.append(helper.make_tensor_value_info(text, TensorProto.FLOAT, [number] * (at % 5)))
        case "data":
            tensor.ClearField("raw_data")
            tensor.raw_data = b"\x01" * (at * 7)


_PICTURES = ("RGB.png", "RGB.jpg", "RGB.webp", "RGB.gif", "RGB.tiff", "RGB.eps")
_LABELS = ("L.png", "L.bmp", "L.tiff", "RGB.png")


def _files(*names: str) -> Callable[[Path], st.SearchStrategy[Any]]:
    return lambda base: st.fixed_dictionaries(
        {"file": st.sampled_from(names), "bytes": byte_edits, "suffix": st.sampled_from(["", "", "", ".png", ".jpg"])}
    )


def _damaged(damage: Any, folder: Path) -> Path:
    """The file, perhaps with the name of another format."""
    file = folder / damage["file"]
    content = apply_bytes(file.read_bytes(), damage["bytes"])
    file = folder / f"damaged{damage.get('suffix') or file.suffix}"
    file.write_bytes(content)
    return file


def _read_photo(damage: Any, folder: Path) -> None:
    from edgeexport.inputs.photos import input_from_photo, open_photo
    from edgeexport.inputs.spec import InputSpec

    input_from_photo(open_photo(_damaged(damage, folder)), InputSpec(1, 64, 64, None))


def _read_label(damage: Any, folder: Path) -> None:
    from edgeexport.evaluation.annotation import label_from_annotation

    label_from_annotation(_damaged(damage, folder), 6, (24, 16))


def _checkpoints(base: Path) -> st.SearchStrategy[Any]:
    with (base / "w.safetensors").open("rb") as stream:
        header = json.loads(stream.read(struct.unpack("<Q", stream.read(8))[0]))
    return st.one_of(
        st.fixed_dictionaries(
            {"file": st.sampled_from(["w.pth", "w.safetensors", "old.pth", "w.npz"]), "bytes": byte_edits}
        ),
        st.fixed_dictionaries({"header": document_edits(header), "length": st.sampled_from([0, 0, 0, 1, -1, 2**40])}),
        st.fixed_dictionaries({"pickle": st.binary(max_size=60).map(bytes.hex), "executed": st.booleans()}),
        st.fixed_dictionaries({"content": values}),
    )


def _read_checkpoint(damage: Any, folder: Path) -> None:
    from edgeexport.hosts.checkpoint import load_weights
    from edgeexport.hosts.checkpoint_file import checkpoint_from_file

    if "file" in damage:
        file = _damaged(damage, folder)
    elif "header" in damage:
        file = folder / "made.safetensors"
        content = (folder / "w.safetensors").read_bytes()
        (length,) = struct.unpack("<Q", content[:8])
        header = apply_document(content[8 : 8 + length], damage["header"])
        size = min(max(len(header) + damage["length"], 0), 2**63)
        file.write_bytes(struct.pack("<Q", size) + header + content[8 + length :])
    else:
        file = folder / "made.pth"
        if "content" in damage:
            torch.save(damage["content"], file)
        else:
            end = pickle.dumps(Executed(), protocol=2)[2:] if damage["executed"] else b"."
            with zipfile.ZipFile(folder / "w.pth") as stored, zipfile.ZipFile(file, "w") as written:
                for name in stored.namelist():
                    made = b"\x80\x02" + bytes.fromhex(damage["pickle"]) + end
                    written.writestr(name, made if name.endswith("data.pkl") else stored.read(name))
    load_weights(torch.nn.Linear(3, 2), checkpoint_from_file(file).state, str(file))


_INDEX = {"metadata": {"total_size": 32}, "weight_map": {"weight": "w.safetensors", "bias": "w.pth"}}


def _indexes(base: Path) -> st.SearchStrategy[Any]:
    names = st.sampled_from(
        ["w.safetensors", "w.bin", "../w.safetensors", "/etc/passwd", "w.pth", "", ".", "x.index.json"]
    )
    return st.fixed_dictionaries({"edits": document_edits(_INDEX), "names": st.lists(names, max_size=2)})


def _read_index(damage: Any, folder: Path) -> None:
    """Weights in several files: what an index may name, and what it may be."""
    from edgeexport.bundle.weights_hash import weights_sha256
    from edgeexport.hosts.checkpoint_file import checkpoint_from_file

    (folder / "w.bin").write_bytes((folder / "w.pth").read_bytes())
    index = folder / "model.safetensors.index.json"
    named = dict(zip(_INDEX["weight_map"], damage["names"], strict=False))
    content = json.dumps({**_INDEX, "weight_map": {**_INDEX["weight_map"], **named}}).encode()
    index.write_bytes(apply_document(content, damage["edits"]))
    assert weights_sha256(index)
    checkpoint_from_file(index)


_VIT_KEYS = (
    "embeddings.cls_token",
    "embeddings.register_tokens",
    "embeddings.patch_embeddings.projection.weight",
    "head.probe",
    "vision_model.embeddings.class_embedding",
    "encoder.layer.0.attention.attention.query.weight",
    "layers.0.mlp.gate_proj.weight",
    "encoder.layer.0.attention.attention.value.weight",
    "encoder.layer.0.attention.output.dense.bias",
    "layers.0.mlp.up_proj.weight",
    "head.attention.in_proj_weight",
    "embedding/kernel",
    "pos_embedding",
    "Transformer/encoderblock_0/MlpBlock_3/Dense_0/kernel",
    "Transformer/encoderblock_0/MultiHeadDotProductAttention_1/query/kernel",
    "storage_tokens",
    "mask_token",
    "register_tokens",
    "Transformer/encoderblock_0/MultiHeadDotProductAttention_1/out/kernel",
    "cls_token",
    "pos_embed",
    "blocks.0.attn.qkv.bias",
    "module.backbone.blocks.0.ls1.gamma",
    "visual.conv1.weight",
    "visual.class_embedding",
    "patch_embed.proj.weight",
    "head.weight",
)


def _vit_checkpoints(base: Path) -> st.SearchStrategy[Any]:
    shapes = st.lists(st.sampled_from([0, 1, 2, 3, 8, 24]), max_size=4)
    return st.dictionaries(st.sampled_from(_VIT_KEYS), shapes, min_size=1, max_size=8)


def _read_vit_checkpoint(damage: Any, folder: Path) -> None:
    """Keys of ViTs under several names, with tensors of any shape."""
    from timm.models.vision_transformer import VisionTransformer

    from edgeexport.config.place import Place
    from edgeexport.hosts.checkpoint import load_weights
    from edgeexport.hosts.checkpoint_file import Checkpoint
    from edgeexport.hosts.timm_vit.checkpoint import timm_weights
    from edgeexport.hosts.timm_vit.config import timm_from_config

    tiny = {"img_size": 16, "patch_size": 8, "embed_dim": 8, "depth": 1, "num_heads": 2, "num_classes": 2}
    spec, model = timm_from_config({"type": "timm", **tiny}, Place("x.py")), VisionTransformer(**tiny)  # type: ignore[arg-type]
    state, _ = timm_weights(model, spec, Checkpoint({key: torch.zeros(shape) for key, shape in damage.items()}), "w")
    load_weights(model, state, "w")


FILE_KINDS = [
    Kind("onnx", _onnx_files, _read_onnx, 60, ("m.onnx",)),
    Kind("decoders", _onnx_files, _read_decoder, 60, ("d.onnx",)),
    Kind("pictures", _files(*_PICTURES), _read_photo, 150, _PICTURES),
    Kind("label-maps", _files(*_LABELS), _read_label, 150, _LABELS),
    Kind("checkpoints", _checkpoints, _read_checkpoint, 100, ("w.pth", "w.safetensors", "old.pth", "w.npz")),
    Kind("weight-indexes", _indexes, _read_index, 60, ("w.pth", "w.safetensors")),
    Kind("vit-checkpoints", _vit_checkpoints, _read_vit_checkpoint, 60),
]

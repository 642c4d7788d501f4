"""What float16 costs in exactness: mixed-precision graphs against the float32 reference that follows their decisions.

``python -m benchmarks half-precision [RECIPE ...]``. Each graph is executed twice on the two shipped photographs: as ONNX
Runtime does (on a CPU mostly in float32 between casts, so milder than a GPU), and in float32 with the result of every float16
node rounded to eleven bits (harsher than TensorRT, which keeps what a fused kernel computes inside). The tolerances of
`edgeexport.verify.tolerances.FP16` rest on the second.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgeexport.backends.onnxruntime import OnnxRuntimeRunner
from edgeexport.fixed.model import FixedModel, fixed_from_model
from edgeexport.fixed.weights import model_from_recipe
from edgeexport.graph.graphs import export_of_fixed, graphs_from_export
from edgeexport.graph.half_precision_policy import MOVING
from edgeexport.inputs.batches import image_batches
from edgeexport.inputs.photos import shipped_photos
from edgeexport.recipe import load_recipe
from edgeexport.verify.parity import reference_of, runtime_comparison
from edgeexport.verify.tolerances import FP16

__all__ = ["RECIPES", "print_half_precision", "rounded_model"]

RECIPES: dict[str, tuple[str, ...]] = {
    "scenes_dense": (),
    "scenes_cts": (),
    "scenes_dtop": (),
    "scenes_cts_dtop": (),
    "scenes_tome": (),
    "segvit_ti_cts_dtop": (),
    "segvit_ti_atm": ("input.shape=(1, 3, 256, 256)", "model.backbone.img_size=(256, 256)"),
    "tome_segvit": ("input.shape=(1, 3, 256, 256)", "model.backbone.img_size=(256, 256)", "reduction.tome.r=80"),
    "tome_deit_ti": (),
    "tome_deit_s_distilled": (),
    "tome_audio_vit_b": ("model.depth=6",),
    "dsm_deit_s": (),
    "tome_sd_block": ("model.grid=(16, 16)", "input.shape=(1, 256, 320)", "reduction.tome.r=128"),
}
"""Recipe -> what makes it affordable here; those with trained weights are complete."""


def rounded_model(model: onnx.ModelProto) -> onnx.ModelProto:
    """A mixed-precision graph in float32, with every result of a float16 node rounded as float16 would be.

    By Veltkamp's splitting: with m = 8193 x, m - (m - x) is x rounded to eleven bits. Subnormals and overflow are not modelled.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    half = {tensor.name for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT16}
    for value in (*graph.value_info, *graph.output):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT16:
            half.add(value.name)
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    for tensor in graph.initializer:
        if tensor.name in half:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))
    graph.initializer.append(numpy_helper.from_array(np.array(8193, np.float32), "veltkamp"))
    nodes = [item for node in graph.node for item in _rounded(node, half)]
    del graph.node[:]
    graph.node.extend(nodes)
    return result


def _rounded(node: onnx.NodeProto, half: set[str]) -> Iterator[onnx.NodeProto]:
    if node.op_type == "Cast" and node.input[0] in half:
        yield helper.make_node("Identity", list(node.input), list(node.output))
        return
    made = [value for value in node.output if value in half]
    if not made or node.op_type in MOVING:
        yield node
        return
    (value,) = made
    exact = f"{value}/exact"
    if node.op_type == "Cast":
        yield helper.make_node("Identity", list(node.input), [exact])
    else:
        renamed = onnx.NodeProto()
        renamed.CopyFrom(node)
        renamed.output[0] = exact
        yield renamed
    yield helper.make_node("Mul", [exact, "veltkamp"], [f"{value}/large"])
    yield helper.make_node("Sub", [f"{value}/large", exact], [f"{value}/rest"])
    yield helper.make_node("Sub", [f"{value}/large", f"{value}/rest"], [value])


def _rows(fixed: FixedModel, name: str) -> Iterator[str]:
    graphs = graphs_from_export(fixed, export_of_fixed(fixed, {}), "fp16")
    forms = {"ONNX Runtime": graphs.with_functions, "all rounded": rounded_model(graphs.with_functions)}
    with tempfile.TemporaryDirectory() as folder:
        for form, model in forms.items():
            path = Path(folder) / "model.onnx"
            path.write_bytes(model.SerializeToString())
            runner = OnnxRuntimeRunner(path, extra_outputs=graphs.inner)
            for batch in image_batches(fixed.recipe.input, shipped_photos()[:2]):
                reference = reference_of(fixed, batch, tolerances=FP16)
                found = runtime_comparison(fixed, reference, runner)
                outputs = []
                for item in found.outputs:
                    if item.max_abs is not None and item.cosine is not None:
                        largest = float(np.abs(reference.outputs[item.name]).max())
                        outputs.append(f"{item.name} {item.max_abs:.2e} ({item.max_abs / largest:.2e} of the largest)")
                    elif item.differing is not None:
                        outputs.append(f"{item.name} {item.differing} differ ({item.unexplained or 0} unexplained)")
                decisions = [item for item in found.decisions if not item.equal]
                farthest = max((item.farthest or 0.0 for item in decisions), default=0.0)
                jaccard = min((item.jaccard for item in found.decisions), default=1.0)
                yield (
                    f"{name:22s} {form:13s} {batch.names[0]:14s} {found.status:15s} {'; '.join(outputs)} | "
                    f"{len(decisions)} of {len(found.decisions)} decisions differ, farthest {farthest:.2e}, "
                    f"Jaccard at least {jaccard:.3f} {found.reason}"
                )


def print_half_precision(names: Sequence[str]) -> None:
    """Prints a line for every recipe, execution and photograph."""
    for name in names or RECIPES:
        recipe = load_recipe(f"{name}.py", RECIPES.get(name, ()))
        model, _ = model_from_recipe(recipe)
        for row in _rows(fixed_from_model(model, recipe), name):
            print(row, flush=True)

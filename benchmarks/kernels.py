"""Kernel plans of one model by several exports, in FP16: as others export it, and ours. No measurement.

The others' graphs are torch's own export in float32, brought to float16 by ONNX Runtime's tool. They take an image that is
normalised already, ours uint8 pixels.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from typing import Any

import torch
from onnxruntime.transformers.float16 import convert_float_to_float16
from torch import Tensor, nn

from benchmarks.patched_vit import PatchedVit
from benchmarks.plans import plan_figures, plan_of_recipe, rtx_plan
from edgeexport.backends.plan_log import rows_from_log
from edgeexport.cost.kernel_plan import DENSE, REDUCED, KernelPlan, plan_with_work
from edgeexport.errors import BuildError
from edgeexport.fixed.schedule import token_schedule
from edgeexport.fixed.weights import model_from_recipe
from edgeexport.graph.inline import inlined_model
from edgeexport.graph.node_work import graph_work
from edgeexport.hosts.seeded import seed_plain_weights
from edgeexport.recipe import load_recipe
from edgeexport.recipe.schema import Recipe

__all__ = ["MODELS", "kernel_rows"]

MODELS = {"DeiT-S": "tome_deit_s.py", "ViT-B": "tome_vit_b.py"}


class _Normalised(nn.Module):
    """`PatchedVit` of an image that is normalised, as the other exports take it."""

    def __init__(self, patched: PatchedVit) -> None:
        super().__init__()
        self.patched = patched

    def forward(self, image: Tensor) -> Tensor:
        state = self.patched.state
        state.r, state.size = list(self.patched.r), None
        return self.patched.model(image)


class _Logits(nn.Module):
    """The logits alone of a model of transformers."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> Tensor:
        return self.model(image).logits


def kernel_rows(target: str = "orin", on_stage: Callable[[str], None] = lambda name: None) -> list[dict[str, Any]]:
    """Kernels, megabytes moved and predicted time of every model and export, dense and with ToMe; or why TensorRT-RTX refuses.

    Args:
        target: What the time is predicted for.
        on_stage: Called with each stage's name as it starts.

    Raises:
        BuildError: TensorRT-RTX refuses one of ours, or is not there.
    """
    rows = []
    for model, name in MODELS.items():
        recipe = load_recipe(name)
        for form, export, module in _others(recipe):
            on_stage(f"{model}, {form}: {export}")
            row = {"model": model, "form": form, "export": export}
            try:
                plan = _plan_of_module(module, recipe, DENSE if form == "dense" else REDUCED)
                rows.append({**row, **plan_figures(plan, target), "TensorRT-RTX": ""})
            except BuildError as error:  # that it refuses such a graph is a result
                rows.append({**row, "TensorRT-RTX": error.problem})
        for form, subject in (("dense", f"{name}:dense"), ("ToMe", name)):
            on_stage(f"{model}, {form}: edgeexport")
            plan = plan_of_recipe(subject)
            figures = {**plan_figures(plan, target), "TensorRT-RTX": ""}
            rows.append({"model": model, "form": form, "export": "edgeexport", **figures})
    return sorted(rows, key=lambda row: (list(MODELS).index(row["model"]), row["form"] != "dense"))


def _others(recipe: Recipe) -> Iterator[tuple[str, str, nn.Module]]:
    """Form, whose export, and the model; transformers' where it is installed, which the project does not ask for."""
    model: Any = model_from_recipe(recipe)[0]
    yield "dense", "timm", model
    if importlib.util.find_spec("transformers") is not None:
        yield "dense", "transformers", _Logits(_of_transformers(recipe))
    merged = [block.tokens_in - block.tokens_out for block in token_schedule(recipe).blocks]
    for scatters, export in ((True, "timm, patched"), (False, "timm, patched without scatters")):
        yield "ToMe", export, _Normalised(PatchedVit(model, merged, (0.0,), (1.0,), scatters=scatters))


def _of_transformers(recipe: Recipe) -> nn.Module:
    import transformers

    spec: Any = recipe.model
    options: dict[str, Any] = {
        "hidden_size": spec.embed_dims,
        "num_hidden_layers": spec.num_layers,
        "num_attention_heads": spec.num_heads,
        "intermediate_size": spec.mlp_hidden,
        "num_labels": spec.num_classes,
    }
    config = transformers.ViTConfig(**options)
    model: nn.Module = transformers.ViTForImageClassification(config).eval()
    seed_plain_weights(model, recipe.seed)
    return model


def _plan_of_module(module: nn.Module, recipe: Recipe, form: str) -> KernelPlan:
    image = torch.zeros(1, 3, recipe.input.height, recipe.input.width)
    program = torch.onnx.export(module.eval(), (image,), dynamo=True, input_names=["image"], verbose=False)
    assert program is not None
    plain = inlined_model(convert_float_to_float16(program.model_proto))
    rtx = rtx_plan(plain)
    plan = KernelPlan(form, "fp16", rtx.compute_capability or "", "TensorRT-RTX", rows_from_log(rtx.plan))
    return plan_with_work(plan, graph_work(plain, plain, recipe, constant_nodes=True), {})

"""What float16 does to merging: how many tokens merge elsewhere than in float32, and what features keep all the same.

The graph for TensorRT runs in ONNX Runtime with the result of every float16 node rounded to float16, which is harsher than a
GPU, that keeps what a fused kernel computes inside.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from edgeexport.backends.onnxruntime import OnnxRuntimeRunner
from edgeexport.commands.build import exported_graphs
from edgeexport.evaluation.fidelity import TokenLayout, figures_of
from edgeexport.fixed.model import fixed_from_model
from edgeexport.fixed.weights import WeightsOrigin
from edgeexport.graph.half_precision_twin import twin_in_float32
from edgeexport.inputs.batches import image_batches
from edgeexport.recipe.schema import Recipe
from edgeexport.verify.decisions import decisions_between
from edgeexport.verify.parity import compared, reference_of
from edgeexport.verify.tolerances import FP16

__all__ = ["flips_on_photos"]

_CHECK = "fixed torch against float16 arithmetic"


def flips_on_photos(
    recipe: Recipe, model: nn.Module, origin: WeightsOrigin, layout: TokenLayout, photos: Sequence[Path]
) -> dict[str, Any]:
    """Runs a merging recipe in float32 and in float16 arithmetic on photographs.

    Returns:
        By name: ``images``; ``merged``, tokens merged over all of them; ``elsewhere``, those that merge elsewhere or not in
        float16, what follows from another choice in an earlier block among them; ``flipped``, images with any; ``explained``,
        images in which every first difference is a near tie, and float32 arrives at the same features by the same merges; and
        mean cosines of the features, float16 beside float32.
    """
    fixed = fixed_from_model(model, recipe)
    graphs = exported_graphs(fixed, origin, precision="fp16")
    twin = twin_in_float32(graphs.tensorrt_functions, rounded=True)
    runner = OnnxRuntimeRunner(twin.SerializeToString(), extra_outputs=graphs.inner, optimised=True)
    merged = elsewhere = flipped = explained = 0
    cosines: dict[str, list[float]] = {}
    for batch in islice(image_batches(recipe.input, photos), len(photos)):
        reference = reference_of(fixed, batch, tolerances=FP16)
        returned = runner.run(batch.pixels, batch.extra)
        decisions = decisions_between(
            returned, reference.outputs, reference.decision_scores, reference.decision_gaps, FP16
        )
        merged += sum(item.tokens for item in decisions)
        elsewhere += sum(item.differing for item in decisions)
        flipped += any(not item.equal for item in decisions)
        pair = "torch fixed", runner.name
        explained += compared(fixed, _CHECK, pair, reference, returned, one_by_one=False).status == "passed"
        ours, theirs = (
            {name: value[0] for name, value in outputs.items()} for outputs in (returned, reference.outputs)
        )
        for name, value in figures_of(ours, theirs, layout).items():
            cosines.setdefault(name, []).append(value)
    told = {name: float(np.mean(values)) for name, values in cosines.items() if name in ("class token", "patch tokens")}
    counts = {"merged": merged, "elsewhere": elsewhere, "flipped": flipped, "explained": explained}
    return {"images": len(photos), **counts, **told}

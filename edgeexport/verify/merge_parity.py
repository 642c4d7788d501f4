"""A fixed timm host or diffusion block against its original with published merging, in torch."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from edgeexport.fixed.adaptive_sd_block import AdaptiveSdBlock
from edgeexport.fixed.fixed_merge_vit import FixedMergeVit
from edgeexport.fixed.fixed_sd_block import FixedSdBlock
from edgeexport.fixed.original_vit import OriginalVit
from edgeexport.inputs.batches import ImageBatch
from edgeexport.verify.imposed import Imposed
from edgeexport.verify.merges import merge_outputs, merge_scores
from edgeexport.verify.reference import Reference
from edgeexport.verify.tolerances import FP32, Tolerances

__all__ = ["merge_reference", "original_outputs"]


def merge_reference(
    fixed: FixedMergeVit | FixedSdBlock,
    batch: ImageBatch,
    imposed: Imposed | None = None,
    tolerances: Tolerances = FP32,
) -> Reference:
    """Runs the fixed form in torch, carrying out ``imposed`` merges if there are any."""
    inputs = [torch.from_numpy(batch.pixels), *(torch.from_numpy(value) for value in batch.extra.values())]
    with torch.no_grad():
        trace = fixed.trace(*inputs, imposed=imposed.merges if imposed is not None else None)
    outputs = {name: tensor.numpy() for name, tensor in fixed.outputs_of(trace).items()}
    scores, gaps = merge_scores(trace)
    return Reference(batch, outputs, scores, None, trace, gaps, tolerances)


def original_outputs(fixed: FixedMergeVit | FixedSdBlock, batch: ImageBatch) -> dict[str, NDArray]:
    """The original, image by image, as outputs by name: merges, prediction, and for timm hosts final sizes and origins."""
    return _vit_outputs(fixed, batch) if isinstance(fixed, FixedMergeVit) else _sd_outputs(fixed, batch)


def _vit_outputs(fixed: FixedMergeVit, batch: ImageBatch) -> dict[str, NDArray]:
    layouts = {step.block: step.layout for step in fixed.steps if step.layout is not None}
    images = OriginalVit(fixed.model, fixed.recipe.input, fixed.merge, layouts).run(torch.from_numpy(batch.pixels))
    found = {"logits": np.stack([image.logits.numpy() for image in images])}
    if not fixed.merging:
        return found
    found["size"] = np.stack([image.size.numpy()[:, None] for image in images])
    found["source"] = np.stack([image.origin.numpy().astype(np.int32) for image in images])
    return found | merge_outputs([image.steps for image in images])


def _sd_outputs(fixed: FixedSdBlock, batch: ImageBatch) -> dict[str, NDArray]:
    r = sum(step.r for step in fixed.steps)
    inputs = torch.from_numpy(batch.pixels), torch.from_numpy(batch.extra["context"])
    images = AdaptiveSdBlock(fixed.model, r).run(*inputs)
    found = {"tokens": np.stack([image.tokens.numpy() for image in images])}
    return found if not r else found | merge_outputs([{1: image} for image in images])

"""CTS alone as an ONNX graph: policy logits (and an image) in, layout and shared patches out."""

from __future__ import annotations

import onnx
import torch
from torch import Tensor

from edgeexport.graph.export import exported_model
from edgeexport.ops import token_partition, token_unmerge
from edgeexport.reductions.cts_layout import layout_fixed, share_patches, window_scores

__all__ = ["CtsGraph", "cts_model"]

OUTPUTS = ("token_source", "source", "patches", "unshared")


class CtsGraph(torch.nn.Module):
    """What a host model does with CTS, without the host.

    The exporter of edgeexport takes one input, so logits, pixels and token values travel in one vector per image.
    """

    def __init__(
        self, logits: tuple[int, ...], image: tuple[int, ...], values: tuple[int, ...], num_shared: int
    ) -> None:
        super().__init__()
        self.shapes = (logits, image, values)
        self.num_shared = num_shared

    def pack(self, *parts: Tensor) -> Tensor:
        """Logits (B, 2, h, w), image (B, 3, H, W), values (B, n, C) -> (B, everything)."""
        return torch.cat([part.flatten(1) for part in parts], dim=1)

    def forward(self, packed: Tensor) -> tuple[Tensor, ...]:
        """Packed -> token_source (B, n), source (B, N), patches (B, n, 768), unshared (B, N, C)."""
        parts, start = [], 0
        for shape in self.shapes:
            size = torch.Size(shape).numel()
            parts.append(packed[:, start : start + size].reshape(-1, *shape))
            start += size
        logits, image, values = parts
        layout = layout_fixed(window_scores(logits), self.num_shared, logits.shape[3])
        patches = share_patches(image, layout, 16)
        return layout.token_source, layout.source, patches, token_unmerge.token_unmerge(values, layout.source)


def cts_model(module: CtsGraph, example: Tensor) -> onnx.ModelProto:
    """Exported at the example's shape, with the bodies of its custom ops."""
    model = exported_model(module.eval(), (example,), ["packed"], OUTPUTS, {})
    model.functions.extend(op.onnx_function() for op in (token_partition, token_unmerge))
    return model

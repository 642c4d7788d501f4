"""SegViT with all its heads: weights only, no forward. Both walks run on this one module, so they cannot differ in weights."""

from __future__ import annotations

from torch import nn

from edgeexport.hosts.segmentation.vit import VitBackbone
from edgeexport.hosts.segvit.heads import head_from_spec
from edgeexport.hosts.segvit.spec import SegVitSpec

__all__ = ["SegVit"]


class SegVit(nn.Module):
    """`backbone`, `decode_head` and `auxiliary_head.<i>` in the order of the model's config."""

    def __init__(self, spec: SegVitSpec) -> None:
        super().__init__()
        self.spec = spec
        self.backbone = VitBackbone(spec.backbone)
        self.decode_head = head_from_spec(spec.decode_head)
        if spec.auxiliary_heads:
            self.auxiliary_head = nn.ModuleList(head_from_spec(head) for head in spec.auxiliary_heads)

    def auxiliary_head_after(self, block: int) -> nn.Module:
        """The auxiliary head that reads the output of 1-based ``block``."""
        for head, spec in zip(self.auxiliary_head, self.spec.auxiliary_heads, strict=True):
            if spec.stages[0] == block:
                return head
        raise KeyError(block)

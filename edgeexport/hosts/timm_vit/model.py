"""timm's `VisionTransformer` or `Eva` rebuilt from its spec, for images and clips."""

from __future__ import annotations

from functools import partial
from typing import Any

from timm.layers import to_2tuple
from torch import Tensor, nn

from edgeexport.hosts.timm_vit.plain import built_host
from edgeexport.hosts.timm_vit.spec import TimmVitSpec

__all__ = ["TubeletEmbed", "timm_vit_from_spec"]


class TubeletEmbed(nn.Module):
    """Patch embedding of a clip: tubelets of ``tubelet`` frames x patch, float32 (B, C, T, H, W) -> (B, n, width).

    Tokens run over time, then rows, then columns. Stands where timm's `PatchEmbed` does.
    """

    def __init__(
        self,
        img_size: int | tuple[int, int] = 224,
        patch_size: int | tuple[int, int] = 16,
        in_chans: int = 3,
        embed_dim: int = 768,
        bias: bool = True,
        *,
        frames: int = 16,
        tubelet: int = 2,
        device: Any = None,
        dtype: Any = None,
        **_ignored: object,
    ) -> None:
        super().__init__()
        self.img_size, self.patch_size = to_2tuple(img_size), to_2tuple(patch_size)
        self.grid_size = (self.img_size[0] // self.patch_size[0], self.img_size[1] // self.patch_size[1])
        self.num_patches = (frames // tubelet) * self.grid_size[0] * self.grid_size[1]
        kernel = (tubelet, *self.patch_size)
        self.proj = nn.Conv3d(in_chans, embed_dim, kernel, stride=kernel, bias=bias, device=device, dtype=dtype)

    def forward(self, clip: Tensor) -> Tensor:
        return self.proj(clip).flatten(2).transpose(1, 2)


def timm_vit_from_spec(spec: TimmVitSpec) -> nn.Module:
    """Builds the host in eval mode, on the CPU, with memory for its weights but no values yet."""
    arguments: dict[str, Any] = dict(spec.arguments)
    if spec.frames is not None:
        arguments["embed_layer"] = partial(TubeletEmbed, frames=spec.frames, tubelet=spec.tubelet)
    model = built_host(spec.name, arguments)  # timm's own initialisation of a ViT-L takes seconds, and is not wanted
    model = model.to_empty(device="cpu")
    for module in model.modules():  # tables of rotary positions and biases that are zero, which no checkpoint holds
        fill: Any = getattr(module, "init_non_persistent_buffers", None)
        if fill is not None:
            fill()
    return model

"""The Stable Diffusion block against the same computation written out in functions, and its published key names."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from edgeexport.hosts.sd_block.block import SdBlock
from edgeexport.hosts.sd_block.spec import SdBlockSpec

SPEC = SdBlockSpec("sd_block", grid=(4, 6), embed_dims=24, num_heads=3, context_tokens=5, context_width=10)


def drawn_block(seed: int = 0) -> SdBlock:
    block = SdBlock(SPEC)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return block.eval()


def inputs(batch: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(batch)
    return torch.randn(batch, 24, 24, generator=generator), torch.randn(batch, 5, 10, generator=generator)


def attention(weights: dict[str, Tensor], name: str, x: Tensor, source: Tensor) -> Tensor:
    """Head by head, with an explicit softmax."""
    query, key, value = (
        side @ weights[f"{name}.to_{part}.weight"].T for part, side in (("q", x), ("k", source), ("v", source))
    )
    heads = []
    for first in range(0, 24, 8):
        part = slice(first, first + 8)
        logits = query[..., part] @ key[..., part].transpose(1, 2) / 8**0.5
        raised = (logits - logits.amax(dim=-1, keepdim=True)).exp()
        heads.append(raised / raised.sum(dim=-1, keepdim=True) @ value[..., part])
    return torch.cat(heads, dim=-1) @ weights[f"{name}.to_out.0.weight"].T + weights[f"{name}.to_out.0.bias"]


def norm(weights: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    centred = x - x.mean(dim=-1, keepdim=True)
    scaled = centred / (centred.square().mean(dim=-1, keepdim=True) + 1e-5).sqrt()
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def expected_output(weights: dict[str, Tensor], x: Tensor, context: Tensor) -> Tensor:
    normed = norm(weights, "norm1", x)
    x = x + attention(weights, "attn1", normed, normed)
    x = x + attention(weights, "attn2", norm(weights, "norm2", x), context)
    joint = norm(weights, "norm3", x) @ weights["ff.net.0.proj.weight"].T + weights["ff.net.0.proj.bias"]
    value, gate = joint[..., :96], joint[..., 96:]
    hidden = value * gate * 0.5 * (1 + torch.erf(gate / 2**0.5))
    return x + hidden @ weights["ff.net.2.weight"].T + weights["ff.net.2.bias"]


@pytest.mark.parametrize("batch", [1, 2])
@torch.no_grad()
def test_equals_the_computation_written_out(batch: int) -> None:
    block = drawn_block()
    x, context = inputs(batch)
    torch.testing.assert_close(block(x, context), expected_output(block.state_dict(), x, context), atol=1e-4, rtol=1e-4)


def test_keys_and_shapes_are_the_published_ones() -> None:
    shapes = {key: tuple(value.shape) for key, value in drawn_block().state_dict().items()}
    expected: dict[str, tuple[int, ...]] = {"ff.net.0.proj.weight": (192, 24), "ff.net.0.proj.bias": (192,)}
    expected |= {"ff.net.2.weight": (24, 96), "ff.net.2.bias": (24,)}
    for number in (1, 2, 3):
        expected |= {f"norm{number}.weight": (24,), f"norm{number}.bias": (24,)}
    for name, source in (("attn1", 24), ("attn2", 10)):
        expected |= {f"{name}.to_q.weight": (24, 24), f"{name}.to_k.weight": (24, source)}
        expected |= {f"{name}.to_v.weight": (24, source), f"{name}.to_out.0.weight": (24, 24)}
        expected[f"{name}.to_out.0.bias"] = (24,)
    assert shapes == expected


def test_published_size() -> None:
    """The block at 64x64 latents of Stable Diffusion 1: 320 channels, 768-wide text."""
    with torch.device("meta"):
        block = SdBlock(SdBlockSpec("sd_block", (64, 64), 320, 8, 77, 768))
    c, text = 320, 768
    expected = 6 * c + (4 * c * c + c) + (2 * c * c + 2 * text * c + c) + (8 * c * c + 8 * c) + (4 * c * c + c)
    assert sum(parameter.numel() for parameter in block.parameters()) == expected

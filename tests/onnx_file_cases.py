"""Small Vision Transformers as ONNX files, exported here, that differ in what recognition has to get over."""

from __future__ import annotations

import io
import warnings
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional as F

SIDE, PATCH, WIDTH, HEADS = 32, 8, 24, 3
PATCHES = (SIDE // PATCH) ** 2


class Attention(nn.Module):
    def __init__(self, options: dict[str, Any], tokens: int, prefix: int) -> None:
        super().__init__()
        self.options, self.prefix = options, prefix
        self.q, self.k, self.v, self.proj = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        width = WIDTH // HEADS
        angles = torch.arange(tokens - prefix)[:, None] * torch.rand(width // 2)
        self.register_buffer("cos", angles.cos().repeat(1, 2))
        self.register_buffer("sin", angles.sin().repeat(1, 2))
        self.register_buffer("bias", torch.randn(HEADS, tokens, tokens))
        self.register_buffer("mask", torch.zeros(1, 1, tokens, tokens))

    def turned(self, x: Tensor) -> Tensor:
        ahead, patches = x[:, :, : self.prefix], x[:, :, self.prefix :]
        half = patches.shape[-1] // 2
        turned = torch.cat([-patches[..., half:], patches[..., :half]], dim=-1)
        return torch.cat([ahead, patches * self.cos + turned * self.sin], dim=2)

    def forward(self, x: Tensor) -> Tensor:
        if "sequence first" in self.options:
            return self.attended(x.transpose(0, 1)).transpose(0, 1)
        if "rows" in self.options:
            return self.attended(x.reshape(-1, self.mask.shape[-1], WIDTH)).reshape(-1, WIDTH)
        return self.attended(x)

    def attended(self, x: Tensor) -> Tensor:
        batch, tokens, _ = x.shape
        q, k, v = (part(x).reshape(batch, tokens, HEADS, -1).transpose(1, 2) for part in (self.q, self.k, self.v))
        if "rotary" in self.options:
            q, k = self.turned(q), self.turned(k)
        logits = (q * (WIDTH // HEADS) ** -0.5) @ k.transpose(2, 3)
        if "relative" in self.options:
            logits = logits + self.bias
        if "mask" in self.options:
            logits = logits + self.mask
        x = (logits.softmax(dim=-1) @ v).transpose(1, 2).reshape(batch, tokens, -1)
        return self.proj(x)


class Layer(nn.Module):
    def __init__(self, options: dict[str, Any], tokens: int, prefix: int) -> None:
        super().__init__()
        self.options = options
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attn = Attention(options, tokens, prefix)
        self.fc1, self.fc2 = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(2 * WIDTH, WIDTH)
        self.mix = nn.Linear(tokens, tokens)

    def norm(self, norm: nn.Module, x: Tensor) -> Tensor:
        if "rms" in self.options:
            return x * torch.rsqrt((x * x).mean(dim=-1, keepdim=True) + 1e-6) * norm.weight
        return norm(x)

    def forward(self, x: Tensor) -> Tensor:
        if "post-norm" in self.options:
            x = self.norm1(x + self.attn(x))
            return self.norm2(x + self.fc2(F.gelu(self.fc1(x))))
        if "parallel" in self.options:
            return x + self.attn(self.norm1(x)) + self.fc2(F.gelu(self.fc1(self.norm2(x))))
        x = x + self.windowed(self.norm(self.norm1, x))
        if "mixer" in self.options:
            x = x + self.mix(x.transpose(1, 2)).transpose(1, 2)
        return x + self.fc2(F.gelu(self.fc1(self.norm(self.norm2, x))))

    def windowed(self, x: Tensor) -> Tensor:
        if "windows" not in self.options:
            return self.attn(x)
        return self.attn(x.reshape(-1, 8, WIDTH)).reshape(x.shape)


class Vit(nn.Module):
    """``options`` say what is unusual; the output is logits of the class token unless they say otherwise."""

    def __init__(self, *options: str, blocks: int = 3) -> None:
        super().__init__()
        self.options = dict.fromkeys(options)
        prefix = 0 if "no prefix" in self.options else 2
        tokens = 8 if "windows" in self.options else prefix + PATCHES
        self.embed = nn.Conv2d(3, WIDTH, PATCH, PATCH)
        self.prefix = nn.Parameter(torch.randn(1, prefix, WIDTH))
        self.position = nn.Parameter(torch.randn(1, prefix + PATCHES, WIDTH))
        self.layers = nn.ModuleList(Layer(self.options, tokens, prefix) for _ in range(blocks))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 5)
        self.count = prefix

    def forward(self, pixels: Tensor) -> Any:
        x = self.embed(pixels).flatten(2).transpose(1, 2)
        if self.count:
            parts = [self.prefix.expand(x.shape[0], -1, -1), x]
            x = torch.cat(parts[::-1] if "prefix behind" in self.options else parts, dim=1)
        x = x + self.position
        taps, shape = [], x.shape
        x = x.transpose(0, 1) if "sequence first" in self.options else x
        x = x.reshape(-1, WIDTH) if "rows" in self.options else x
        for layer in self.layers:
            x = layer(x)
            taps.append(x)
        x = x.transpose(0, 1) if "sequence first" in self.options else x.reshape(shape)
        x = self.norm(x)
        if "tokens" in self.options:
            return x
        if "taps" in self.options:
            return x, taps[0][:, self.count :]
        if "mean" in self.options:
            return self.head(x[:, self.count :].mean(dim=1))
        return self.head(x[:, 0])


def exported(path: Path, *options: str, dynamic: bool = False, batch: int = 1, opset: int = 17) -> Path:
    """The file of a `Vit` with seeded weights."""
    torch.manual_seed(3)
    model = Vit(*options).eval()
    names = ["out", "tap"] if "taps" in options else ["out"]
    axes = {"dynamic_axes": {name: {0: "batch"} for name in ["pixels", *names]}} if dynamic else {}
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model, (torch.randn(batch, 3, SIDE, SIDE),), str(path), dynamo=False, opset_version=opset,
            input_names=["pixels"], output_names=names, **axes,
        )  # fmt: skip
    return path


def edited(path: Path, change: Any) -> Path:
    """The file after ``change(model)``."""
    model = onnx.load(path)
    change(model)
    onnx.save(model, path)
    return path

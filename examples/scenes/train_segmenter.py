"""Trains the small Segmenter of recipes/scenes_segmenter*.py on generated scenes, from the trained SegViT's backbone.

    python -m examples.scenes.generate --seed 1 --images 1200 --out work_dirs/scenes
    python -m examples.scenes.train_segmenter --data work_dirs/scenes --out work_dirs/scenes_segmenter_training

Plain torch. The policy network is that of recipes/scenes.safetensors and stays as it is; blocks and patch embedding begin as
that model's and are trained further; class token and decoder begin at random. Every batch has a random number of
shared windows, none among them, so that one set of weights serves the dense model and the shared one.
"""

from __future__ import annotations

import json
import math
import random
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from edgeexport.evaluation.areas import Areas, areas_of, scores_from_areas
from edgeexport.hosts.segmenter.segmenter import MaskTransformer, Segmenter
from edgeexport.ops.token_unmerge import token_unmerge
from edgeexport.recipe import load_recipe
from edgeexport.reductions.cts_layout import layout_fixed, share_patches, share_positions
from edgeexport.reductions.cts_policy import PolicyNetwork
from edgeexport.tokens.patches import patches_from_image
from examples.scenes.labelled_scenes import Scenes, batches, normalised, read_scenes
from examples.scenes.policy_training import scores_of_scenes
from examples.scenes.settings import MEAN, STD

__all__ = ["SegmenterSettings", "forward_masks", "main", "new_segmenter", "train_segmenter"]

_RECIPES = Path(__file__).resolve().parents[2] / "recipes"
_LOG_EVERY, _CHECK_EVERY = 10, 100


@dataclass(frozen=True)
class SegmenterSettings:
    """Hyperparameters; the defaults are those of the shipped checkpoint, which was taken after 500 steps.

    Attributes:
        seed: Of weights, order and augmentation.
        batch: Scenes per step.
        steps: Optimisation steps.
        lr: Peak rate of decoder and class token; AdamW, warm-up and cosine.
        backbone_lr: Of what begins as trained.
        shared: Windows shared, one of these per step at random.
    """

    seed: int = 1
    batch: int = 12
    steps: int = 600
    lr: float = 1.5e-3
    backbone_lr: float = 4e-4
    weight_decay: float = 0.05
    shared: tuple[int, ...] = (0, 16, 24, 32)


def new_segmenter(seed: int) -> Segmenter:
    """The recipe's model, its backbone that of the trained SegViT, the rest drawn from ``seed``."""
    torch.manual_seed(seed)
    recipe = load_recipe(_RECIPES / "scenes_segmenter.py", ["checkpoint=None"])
    model = Segmenter(recipe.model)
    head = model.decode_head
    assert isinstance(head, MaskTransformer)
    for name, value in model.named_parameters():
        if value.ndim >= 2:
            nn.init.trunc_normal_(value, std=0.02 if value.ndim == 3 else value[0].numel() ** -0.5)
        elif name.endswith("bias"):
            nn.init.zeros_(value)
    trained = load_file(_RECIPES / "scenes.safetensors")
    begun = {key: value.float() for key, value in trained.items() if key.startswith("backbone.")}
    missing = model.load_state_dict(begun, strict=False).missing_keys
    assert all(key.startswith(("decode_head.", "backbone.ln1.", "backbone.cls_token")) for key in missing), missing
    return model


def forward_masks(model: Segmenter, pixels: Tensor, scores: Tensor | None, num_shared: int) -> Tensor:
    """Class logits of every patch, with ``num_shared`` windows sharing a token.

    Args:
        model: A mask transformer on a grid of even sides.
        pixels: Normalised float32 (B, 3, H, W).
        scores: Policy scores (B, windows); None shares nothing.
        num_shared: Windows to share.

    Returns:
        float32 (B, K, h, w).
    """
    backbone, patch = model.backbone, model.spec.backbone.patch_size
    grid = (pixels.shape[2] // patch, pixels.shape[3] // patch)
    position = backbone.position_grid(*grid)
    source = None
    if scores is None:
        x = backbone.embed(patches_from_image(pixels, patch), position)
    else:
        layout = layout_fixed(scores, num_shared, grid[1] // 2)
        x = backbone.embed(share_patches(pixels, layout, patch), share_positions(position, layout, grid))
        source = layout.source
    for block in backbone.layers:
        x = block(x)
    masks = model.decode_head(backbone.patch_tokens(x, len(backbone.layers)))
    masks = masks if source is None else token_unmerge(masks, source)
    return masks.transpose(1, 2).unflatten(2, grid)


def train_segmenter(data: Path, out: Path, settings: SegmenterSettings, limit: int | None = None) -> Path:
    """Trains and writes ``out/scenes_segmenter.safetensors`` (float16) and ``out/log.jsonl``; returns the former."""
    out.mkdir(parents=True, exist_ok=True)
    scenes, held_out = read_scenes(data, "train", limit), read_scenes(data, "val", limit)
    facts = {"settings": asdict(settings), "train_sha256": scenes.sha256, "val_sha256": held_out.sha256}
    (out / "run.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")
    model = new_segmenter(settings.seed)
    policy = PolicyNetwork().eval()
    weights = load_file(_RECIPES / "scenes.safetensors")
    prefix = "policy_net."
    own = {key.removeprefix(prefix): value.float() for key, value in weights.items() if key.startswith(prefix)}
    policy.load_state_dict(own, strict=False)  # but for counters of training
    scores = scores_of_scenes(policy, scenes)
    share = np.bincount(scenes.labels.ravel(), minlength=13) / scenes.labels.size
    weight = torch.from_numpy(np.clip(share, 1e-3, None) ** -0.25).float()
    weight = weight / weight.mean()
    backbone = [value for name, value in model.named_parameters() if name.startswith("backbone.layers")]
    fresh = [value for name, value in model.named_parameters() if not name.startswith("backbone.layers")]
    rates = (settings.backbone_lr, settings.lr)
    optimizer = torch.optim.AdamW(
        [{"params": backbone}, {"params": fresh}], weight_decay=settings.weight_decay, betas=(0.9, 0.95)
    )
    began = time.monotonic()
    model.train()
    for step, batch in enumerate(batches(scenes, settings.batch, settings.seed, 0, settings.steps), start=1):
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * _share_of_rate(step, settings.steps)
        windows = scores[torch.from_numpy(batch.index)]
        windows = torch.where(torch.from_numpy(batch.mirrored)[:, None, None], windows.flip(2), windows)
        num_shared = random.Random(f"{settings.seed}:{step}").choice(settings.shared)
        pixels = normalised(batch.pixels, MEAN, STD)
        masks = forward_masks(model, pixels, windows.flatten(1) if num_shared else None, num_shared)
        target = batch.label[:, 2::4, 2::4]
        upsampled = F.interpolate(masks, size=target.shape[1:], mode="bilinear", align_corners=False)
        loss = F.cross_entropy(upsampled.contiguous(), target, weight=weight)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        line: dict[str, object] = {"step": step, "seconds": round(time.monotonic() - began, 1), "loss": loss.item()}
        if step % _CHECK_EVERY == 0 or step == settings.steps:
            line |= {f"miou_percent_{count}_shared": _miou(model, policy, held_out, count) for count in (0, 24)}
            _write(model, out / "scenes_segmenter.safetensors")
        if step % _LOG_EVERY == 0 or step == settings.steps:
            with (out / "log.jsonl").open("a", encoding="utf-8") as stream:
                rounded = {key: round(value, 4) if isinstance(value, float) else value for key, value in line.items()}
                stream.write(json.dumps(rounded) + "\n")
    return out / "scenes_segmenter.safetensors"


def _share_of_rate(step: int, steps: int) -> float:
    warm = min(40, steps // 10 + 1)
    return step / warm if step < warm else 0.5 * (1 + math.cos(math.pi * (step - warm) / max(steps - warm, 1)))


def _write(model: Segmenter, path: Path) -> None:
    save_file({key: value.detach().to(torch.float16).contiguous() for key, value in model.state_dict().items()}, path)


@torch.no_grad()
def _miou(model: Segmenter, policy: PolicyNetwork, scenes: Scenes, num_shared: int, size: int = 10) -> float:
    model.eval()
    scores = scores_of_scenes(policy, scenes) if num_shared else None
    total = Areas.zero(13)
    for start in range(0, len(scenes), size):
        pixels = torch.from_numpy(scenes.images[start : start + size]).permute(0, 3, 1, 2).float()
        windows = None if scores is None else scores[start : start + size].flatten(1)
        masks = forward_masks(model, normalised(pixels, MEAN, STD), windows, num_shared)
        labels = scenes.labels[start : start + size]
        found = F.interpolate(masks, size=labels.shape[1:], mode="bilinear", align_corners=False).argmax(dim=1)
        for row, wanted in zip(found.numpy(), labels, strict=True):
            total = total + areas_of(row, wanted.astype(np.int64), 13)
    model.train()
    return scores_from_areas(total).miou


def main(
    data: Annotated[Path, typer.Option(help="Folder of examples.scenes.generate.")],
    out: Annotated[Path, typer.Option(help="Where log and weights go.")],
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 2,
    steps: Annotated[int, typer.Option(help="Optimisation steps.")] = SegmenterSettings.steps,
    batch: Annotated[int, typer.Option(help="Scenes per step.")] = SegmenterSettings.batch,
    limit: Annotated[int | None, typer.Option(help="Read only the first scenes of each split, to try it out.")] = None,
) -> None:
    """Train the Segmenter of the scenes recipes."""
    torch.set_num_threads(threads)
    typer.echo(str(train_segmenter(data, out, SegmenterSettings(steps=steps, batch=batch), limit)))


if __name__ == "__main__":
    typer.run(main)

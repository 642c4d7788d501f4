"""Trains the small SegViT of recipes/scenes_*.py on generated scenes: policy network first, then the segmenter with it.

    python -m examples.scenes.generate --seed 1 --out work_dirs/scenes
    python -m examples.scenes.train --data work_dirs/scenes --out work_dirs/scenes_training

Plain torch, on the CPU or a GPU. Interrupted, the same command goes on from the last saved step. The segmenter sees every
batch with a random number of shared windows and pruned tokens, none among them, so that one set of weights serves the
dense model and every reduced one; auxiliary heads learn beside the final one.
"""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors.torch import save_file
from torch import Tensor, nn

from edgeexport.evaluation.areas import Areas, areas_of, scores_from_areas
from edgeexport.hosts.segmentation.vit import VitBackbone
from edgeexport.hosts.segvit.segvit import SegVit
from edgeexport.recipe import load_recipe
from edgeexport.reductions.cts_policy import PolicyNetwork
from examples.scenes.labelled_scenes import Scenes, batches, normalised, read_scenes
from examples.scenes.losses import total_loss
from examples.scenes.orthogonal_momentum import OrthogonalMomentum
from examples.scenes.policy_training import policy_agreement, scores_of_scenes, train_policy
from examples.scenes.settings import MEAN, PATCH, STD, Settings
from examples.scenes.training_forward import class_fractions, forward_for_training

__all__ = ["main", "new_model", "train"]

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "scenes_dense.py"
_SAVE_EVERY, _LOG_EVERY, _CHECK_EVERY = 100, 20, 200
_console = Console(stderr=True)


def new_model(seed: int) -> SegVit:
    """The recipe's model with policy network, drawn from ``seed``."""
    torch.manual_seed(seed)
    # Without its checkpoint, which this training is to make.
    recipe = load_recipe(RECIPE, ["checkpoint=None"])
    model = SegVit(recipe.model)
    model.policy_net = PolicyNetwork()
    for module in model.modules():
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
    for name, value in model.named_parameters():
        if name.endswith("in_proj_weight"):
            nn.init.xavier_uniform_(value)
        elif name.endswith("in_proj_bias"):
            nn.init.zeros_(value)
    nn.init.trunc_normal_(model.backbone.pos_embed, std=0.02)
    _start_from_frequencies(model.backbone)
    return model


def train(data: Path, out: Path, settings: Settings, device: torch.device, limit: int | None = None) -> Path:
    """Trains both networks, or goes on with what ``out`` holds.

    Returns:
        ``out/scenes.safetensors``: float16, all weights.
    """
    out.mkdir(parents=True, exist_ok=True)
    scenes, held_out = read_scenes(data, "train", limit), read_scenes(data, "val", limit)
    facts = {"settings": asdict(settings), "train_sha256": scenes.sha256, "val_sha256": held_out.sha256}
    _agree_with_earlier(out / "run.json", facts)
    model = new_model(settings.seed).to(device)
    policy = model.policy_net
    assert isinstance(policy, PolicyNetwork)
    log = out / "log.jsonl"
    policy_file = out / "policy.pt"
    if policy_file.exists():
        policy.load_state_dict(torch.load(policy_file, map_location=device, weights_only=True))
        policy.eval()
    else:
        with _bar("policy network", settings.policy_steps) as advance, _timer() as seconds:

            def on_policy_step(step: int, figures: dict[str, float]) -> None:
                advance(f"loss {figures['loss']:.3f}")
                if step % _LOG_EVERY == 0 or step == settings.policy_steps:
                    _write(log, {"phase": "policy", "step": step, "seconds": seconds(), **figures})

            train_policy(policy, scenes, settings, on_policy_step)
        torch.save(policy.state_dict(), policy_file)
    for value in policy.parameters():
        value.requires_grad_(False)
    held_out_scores = scores_of_scenes(policy, held_out)
    figures = policy_agreement(held_out_scores, held_out, max(settings.shared))
    _write(log, {"phase": "policy", "split": "val", **figures})
    _console.print(f"policy network on val: {figures}", highlight=False)
    _train_segmenter(model, scenes, held_out, settings, device, out, log)
    weights = {key: value.detach().to("cpu", torch.float16).contiguous() for key, value in model.state_dict().items()}
    weights = {key: value for key, value in weights.items() if "num_batches_tracked" not in key}
    path = out / "scenes.safetensors"
    save_file(weights, path)
    return path


def _train_segmenter(
    model: SegVit, scenes: Scenes, held_out: Scenes, settings: Settings, device: torch.device, out: Path, log: Path
) -> None:
    state_file = out / "segmenter.pt"
    optimizers = _optimizers(model, settings)
    start = 0
    if state_file.exists():
        state = torch.load(state_file, map_location=device, weights_only=True)
        model.load_state_dict(state["model"])
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        start = state["step"]
        _console.print(f"going on after step {start}")
    classes = model.spec.decode_head.num_classes
    policy = model.policy_net
    assert isinstance(policy, PolicyNetwork)
    scores_file = out / "policy_scores.pt"
    if not scores_file.exists():
        _console.print(f"policy network: scores of {len(scenes)} training scenes")
        torch.save(scores_of_scenes(policy, scenes), scores_file)
    scores = torch.load(scores_file, weights_only=True)
    weight = _class_weights(scenes, classes).to(device)
    model.train()
    policy.eval()
    with _bar("segmenter", settings.steps, start) as advance, _timer() as seconds:
        for step, batch in enumerate(batches(scenes, settings.batch, settings.seed, start, settings.steps), start + 1):
            rate = _rate(step, settings)
            for optimizer in optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = rate * settings.lr
            choice = random.Random(f"{settings.seed}:{step}")
            label = batch.label.to(device)
            windows = scores[torch.from_numpy(batch.index)]
            windows = torch.where(torch.from_numpy(batch.mirrored)[:, None, None], windows.flip(2), windows)
            num_shared = choice.choice(settings.shared)
            tokens = windows[0].numel() * 4 - 3 * num_shared
            shares = choice.choice(settings.prune)
            prune = {
                head.stages[0]: int(share * tokens)
                for head, share in zip(model.spec.auxiliary_heads, shares, strict=True)
            }
            found = forward_for_training(
                model,
                normalised(batch.pixels.to(device), MEAN, STD),
                class_fractions(label, classes, PATCH),
                windows.flatten(1) if num_shared else None,
                num_shared,
                prune,
            )
            loss = total_loss(found, label, weight)
            for optimizer in optimizers:
                optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], 1.0)
            for optimizer in optimizers:
                optimizer.step()
            advance(f"loss {loss.item():.3f}")
            if step % _LOG_EVERY == 0:
                _write(log, {"phase": "segmenter", "step": step, "seconds": seconds(), "loss": loss.item()})
            if step % _CHECK_EVERY == 0 or step == settings.steps:
                miou = _held_out_miou(model, held_out, device)
                _write(log, {"phase": "segmenter", "step": step, "split": "val", "dense_miou_percent": miou})
                _console.print(f"step {step}: loss {loss.item():.3f}, dense mIoU on val {miou:.2f} %", highlight=False)
            if step % _SAVE_EVERY == 0 or step == settings.steps:
                saved = {"model": model.state_dict(), "optimizers": [o.state_dict() for o in optimizers], "step": step}
                torch.save(saved, state_file.with_suffix(".new"))
                state_file.with_suffix(".new").replace(state_file)
    model.eval()


@torch.no_grad()
def _held_out_miou(model: SegVit, scenes: Scenes, device: torch.device, size: int = 10) -> float:
    classes = model.spec.decode_head.num_classes
    total = Areas.zero(classes)
    for start in range(0, len(scenes), size):
        pixels = torch.from_numpy(scenes.images[start : start + size]).permute(0, 3, 1, 2).float().to(device)
        label = torch.from_numpy(scenes.labels[start : start + size]).long()
        fractions = class_fractions(label.to(device), classes, PATCH)
        found = forward_for_training(model, normalised(pixels, MEAN, STD), fractions, None, 0, {})
        upsampled = nn.functional.interpolate(found.scores, size=label.shape[1:], mode="bilinear", align_corners=False)
        for row, wanted in zip(upsampled.argmax(dim=1).cpu(), label, strict=True):
            total = total + areas_of(row.numpy(), wanted.numpy(), classes)
    return scores_from_areas(total).miou


def _start_from_frequencies(backbone: VitBackbone) -> None:
    """Patch embedding from the lowest cosine frequencies of every colour channel: what a patch looks like, from step 1."""
    size = backbone.spec.patch_size
    weight = backbone.patch_embed.projection.weight
    pairs = sorted(((u, v) for u in range(size) for v in range(size)), key=lambda pair: (sum(pair), pair))
    place = (torch.arange(size) + 0.5) * math.pi / size
    with torch.no_grad():
        for row in range(weight.shape[0]):
            u, v = pairs[row // 3]
            wave = torch.outer(torch.cos(u * place), torch.cos(v * place))
            weight[row] = 0.0
            # Natural images have little energy at high frequencies: raise them, so that all rows start alike.
            weight[row, row % 3] = wave / wave.norm() * (1 + u + v) / size
        if backbone.patch_embed.projection.bias is not None:
            nn.init.zeros_(backbone.patch_embed.projection.bias)


def _optimizers(model: SegVit, settings: Settings) -> list[torch.optim.Optimizer]:
    matrices: list[Tensor] = []
    others: list[Tensor] = []
    for name, value in model.named_parameters():
        if value.requires_grad:
            (matrices if ".layers." in name and value.ndim == 2 else others).append(value)
    muon = OrthogonalMomentum(matrices, lr=settings.lr, weight_decay=settings.weight_decay)
    return [muon, torch.optim.AdamW(others, lr=settings.lr, weight_decay=0.0, betas=(0.9, 0.95))]


def _rate(step: int, settings: Settings) -> float:
    warm = min(200, settings.steps // 10 + 1)
    if step < warm:
        return step / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(settings.steps - warm, 1)))


def _class_weights(scenes: Scenes, classes: int) -> Tensor:
    share = np.bincount(scenes.labels.ravel(), minlength=classes) / scenes.labels.size
    weight = torch.from_numpy(np.clip(share, 1e-3, None) ** -0.25).float()
    return weight / weight.mean()


def _agree_with_earlier(path: Path, facts: dict[str, Any]) -> None:
    text = json.dumps(facts, indent=1)
    if path.exists() and path.read_text(encoding="utf-8") != text:
        raise typer.BadParameter(f"{path.parent} holds a training with other settings or data; give another --out")
    path.write_text(text, encoding="utf-8")


def _write(log: Path, line: dict[str, Any]) -> None:
    rounded = {key: round(value, 4) if isinstance(value, float) else value for key, value in line.items()}
    with log.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(rounded) + "\n")


@contextmanager
def _timer() -> Iterator[Any]:
    began = time.monotonic()
    yield lambda: round(time.monotonic() - began, 1)


@contextmanager
def _bar(name: str, total: int, done: int = 0) -> Iterator[Any]:
    columns = (
        TextColumn(name),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=_console, disable=not _console.is_terminal) as bar:
        task = bar.add_task("", total=total, completed=done)
        yield lambda text: bar.update(task, advance=1, description=text)


def main(
    data: Annotated[Path, typer.Option(help="Folder of examples.scenes.generate.")],
    out: Annotated[Path, typer.Option(help="Where state, log and weights go.")],
    device: Annotated[str, typer.Option(help="cpu or cuda; auto takes a GPU where there is one.")] = "auto",
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 2,
    policy_steps: Annotated[int, typer.Option(help="Steps of the policy network.")] = Settings.policy_steps,
    steps: Annotated[int, typer.Option(help="Steps of the segmenter.")] = Settings.steps,
    batch: Annotated[int, typer.Option(help="Scenes per step.")] = Settings.batch,
    limit: Annotated[int | None, typer.Option(help="Read only the first scenes of each split, to try it out.")] = None,
) -> None:
    """Train policy network and segmenter; resumes what OUT holds."""
    torch.set_num_threads(threads)
    chosen = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    settings = Settings(policy_steps=policy_steps, steps=steps, batch=batch)
    path = train(data, out, settings, torch.device(chosen), limit)
    typer.echo(str(path))


if __name__ == "__main__":
    typer.run(main)

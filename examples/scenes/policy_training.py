"""The policy network of CTS, trained as published: does a window of 2x2 patches hold one class?"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from edgeexport.reductions.cts_layout import window_scores
from edgeexport.reductions.cts_policy import PolicyNetwork
from examples.scenes.labelled_scenes import SceneBatch, Scenes, batches, normalised
from examples.scenes.settings import MEAN, STD, WINDOW, Settings
from examples.scenes.training_forward import uniform_windows

__all__ = ["policy_agreement", "scores_of_scenes", "train_policy"]


def train_policy(
    policy: PolicyNetwork, scenes: Scenes, settings: Settings, on_step: Callable[[int, dict[str, float]], None]
) -> None:
    """Trains in place from random weights; ends in eval mode. ``on_step``: step (from 1), and its figures."""
    device = next(policy.parameters()).device
    policy.to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(policy.parameters(), lr=settings.policy_lr, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.policy_lr, total_steps=settings.policy_steps, pct_start=0.15
    )
    stream = batches(scenes, settings.batch, settings.seed + 1, 0, settings.policy_steps)
    for step, batch in enumerate(stream, start=1):
        logits = policy(_pixels(batch, device))
        target = uniform_windows(batch.label.to(device), WINDOW).long()
        loss = F.cross_entropy(logits, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        right = (logits.argmax(dim=1) == target).float().mean()
        on_step(step, {"loss": loss.item(), "windows_right_percent": 100 * right.item()})
    policy.to(memory_format=torch.contiguous_format).eval()


@torch.no_grad()
def scores_of_scenes(policy: PolicyNetwork, scenes: Scenes, size: int = 16) -> Tensor:
    """Sharing scores of every scene, not mirrored: float32 (N, h, w) on the CPU."""
    device = next(policy.parameters()).device
    found = []
    for start in range(0, len(scenes), size):
        pixels = torch.from_numpy(scenes.images[start : start + size]).permute(0, 3, 1, 2).float().to(device)
        logits = policy(normalised(pixels, MEAN, STD))
        found.append(window_scores(logits).unflatten(1, logits.shape[2:]).cpu())
    return torch.cat(found)


def policy_agreement(scores: Tensor, scenes: Scenes, num_shared: int) -> dict[str, float]:
    """Percent of windows that the policy judges rightly, and of the ``num_shared`` best that hold one class."""
    uniform = uniform_windows(torch.from_numpy(np.asarray(scenes.labels)).long(), WINDOW)
    right = ((scores > 0) == uniform).float().mean()
    best = scores.flatten(1).topk(num_shared, dim=1).indices
    pure = uniform.flatten(1).gather(1, best).float().mean()
    return {"windows_right_percent": 100 * right.item(), "shared_windows_uniform_percent": 100 * pure.item()}


def _pixels(batch: SceneBatch, device: torch.device) -> Tensor:
    return normalised(batch.pixels.to(device), MEAN, STD).to(memory_format=torch.channels_last)

"""What the training is run with; the defaults are those of the shipped checkpoint."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["MEAN", "PATCH", "STD", "WINDOW", "Settings"]

MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)
PATCH = 16
WINDOW = 2 * PATCH


@dataclass(frozen=True)
class Settings:
    """Hyperparameters.

    Attributes:
        seed: Of weights, order and augmentation.
        batch: Scenes per step.
        policy_steps, policy_lr: Of the policy network; AdamW, one cycle.
        steps: Of the segmenter, with the policy network fixed.
        lr: Peak rate; warm-up and cosine. Muon for matrices inside blocks and heads, AdamW for the rest.
        shared: Windows shared, one of these per step at random.
        prune: (Tokens pruned after the first, after the second auxiliary head), one of these per step at random, as shares
            of the tokens of block 1.
    """

    seed: int = 1
    batch: int = 16
    policy_steps: int = 240
    policy_lr: float = 3e-3
    steps: int = 2000
    lr: float = 2e-3
    weight_decay: float = 0.05
    shared: tuple[int, ...] = (0, 16, 24, 32, 32, 32)
    prune: tuple[tuple[float, float], ...] = ((0.0, 0.0), (0.3, 0.2), (0.4, 0.2), (0.5, 0.15))

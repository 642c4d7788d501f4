"""Trains the model: `python -m examples.needle.train --minutes 20`. One thread, fixed seeds; the log says what it took."""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from edgeexport.hosts.decoder.model import DecoderModel, hidden_places
from edgeexport.inputs.prompt import laid_out_prompt
from examples.needle.settings import CONFIG, MODEL_FOLDER, needle_spec
from examples.needle.tasks import ANSWER, GRID, TASKS, Scene, drawn_scene
from examples.needle.words import IDS, IMAGE

__all__ = ["answer_logits", "batch_of", "main"]

_BATCH, _RATE, _WARM_UP, _PLACES = 32, 2e-3, 100, 88


def batch_of(scenes: list[Scene], rng: np.random.Generator) -> dict[str, Any]:
    """Scenes with all of their questions behind them, in any order, each with its answer."""
    rows, answers = [], []
    for row, scene in enumerate(scenes):
        ids = list(scene.ids)
        for n in rng.permutation(len(scene.questions)):
            task, question, answer = scene.questions[n]
            ids += [IDS[word] for word in (*question, *answer)]
            answers.append((row, len(ids), task))
        rows.append(laid_out_prompt(ids, _PLACES, image_token=IMAGE, grids=(GRID,) * 3, merge=2, axes=3))
    padding = [_PLACES - row.tokens for row in rows]
    return {
        "ids": torch.from_numpy(np.concatenate([row.input_ids for row in rows])),
        "mask": torch.from_numpy(np.concatenate([row.attention_mask for row in rows])),
        "positions": torch.from_numpy(np.concatenate([row.position_ids for row in rows], axis=1)),
        "pixels": torch.from_numpy(np.concatenate([scene.pixels for scene in scenes])),
        "rows": torch.tensor([row for row, _, _ in answers]),
        "places": torch.tensor([end - ANSWER + padding[row] for row, end, _ in answers]),
        "tasks": [task for _, _, task in answers],
    }


def answer_logits(model: DecoderModel, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Logits (answers, ANSWER, V) of a model whose tower takes the pictures of all scenes, and the right ids."""
    ids = batch["ids"]
    features = model.visual(batch["pixels"]).reshape(ids.shape[0], -1, model.spec.text.width)
    is_image = ids == IMAGE
    which = (is_image.long().cumsum(1) - 1).clamp(0, features.shape[1] - 1)
    seen = torch.gather(features, 1, which[..., None].expand(-1, -1, features.shape[2]))
    x = torch.where(is_image[..., None], seen, model.model.embed_tokens(ids))
    rotation, hidden = model.rotation(batch["positions"]), hidden_places(batch["mask"])
    for layer in model.model.in_order():
        x, _ = layer.prompt(x, rotation, hidden)
    at = batch["places"][:, None] + torch.arange(ANSWER)
    rows = batch["rows"][:, None]
    return model.lm_head(model.model.norm(x[rows, at - 1])), ids[rows, at]


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=MODEL_FOLDER)
    parser.add_argument("--resume", type=Path, help="a model.safetensors to go on from, with a new seed")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(asked.seed)
    rng = np.random.default_rng(asked.seed)
    model = DecoderModel(needle_spec(_BATCH)).train()
    for name, weight in model.named_parameters():
        if weight.ndim >= 2:
            torch.nn.init.normal_(weight, 0, 0.5 if "embed" in name else weight[0].numel() ** -0.5)
    if asked.resume is not None:
        model.load_state_dict(load_file(asked.resume))
    optimiser = torch.optim.AdamW(model.parameters(), lr=_RATE, betas=(0.9, 0.98), weight_decay=0.01)
    asked.out.mkdir(parents=True, exist_ok=True)
    log = (asked.out / "training.log").open("a")
    log.write(f"minutes {asked.minutes} seed {asked.seed} resumed {asked.resume is not None}\n")
    start, cpu, step, right = time.time(), time.process_time(), 0, dict.fromkeys(TASKS, 0.0)
    while (share := (time.time() - start) / (60 * asked.minutes)) < 1:
        batch = batch_of([drawn_scene(rng) for _ in range(_BATCH)], rng)
        rate = _RATE * min(1, (step + 1) / _WARM_UP) * (0.5 + 0.5 * math.cos(math.pi * share) if share > 0.3 else 1)
        for group in optimiser.param_groups:
            group["lr"] = rate
        logits, answers = answer_logits(model, batch)
        loss = F.cross_entropy(logits.flatten(0, 1), answers.flatten())
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        hit = (logits.argmax(-1) == answers).all(1).tolist()
        for task in TASKS:
            own = [one for one, kind in zip(hit, batch["tasks"], strict=True) if kind == task]
            right[task] += 0.05 * (sum(own) / len(own) - right[task])
        if step % 50 == 0:
            told = " ".join(f"{task} {value:.3f}" for task, value in right.items())
            spent = f"{time.time() - start:.0f} s, cpu {time.process_time() - cpu:.0f} s"
            log.write(f"step {step} loss {loss.item():.4f} rate {rate:.5f} right {told} | {spent}\n")
            log.flush()
        if step % 500 == 499:
            _save(model, asked.out)
        step += 1
    _save(model, asked.out)
    log.write(f"done: {step} steps of {_BATCH}, seed {asked.seed}, one thread\n")


def _save(model: DecoderModel, folder: Path) -> None:
    state = {key: value.detach().clone().contiguous() for key, value in model.state_dict().items()}
    save_file(state, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(CONFIG, indent=1) + "\n")


if __name__ == "__main__":
    main()

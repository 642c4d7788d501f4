"""The study file: what was measured, shard by shard, kept as soon as it is known. The search itself is not kept: it is
deterministic, and runs again over what is here in no time, so that an interrupted study goes on as if it never was.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgeexport.bundle.source_hash import program_sha256
from edgeexport.documents import parsed
from edgeexport.documents.fidelity import Compared
from edgeexport.documents.progress import HEADER, LONGEST_LINE
from edgeexport.documents.tune import STUDY_SCHEMA, TRIED
from edgeexport.errors import UsageError
from edgeexport.evaluation.progress_file import ProgressFile
from edgeexport.tune.measure import Task

__all__ = ["STUDY_FILE", "StudyFile"]

STUDY_FILE = "study.jsonl"

_Key = tuple[str, str, int, int]


class StudyFile:
    """Opens a study, or begins one. A context manager.

    Args:
        folder: Its place.
        digest: Of weights, recipe and images.
        restart: Drops what this very version measured of the same.

    Attributes:
        resumed: Shards that an earlier run measured.

    Raises:
        UsageError: The file is of another version of edgeexport, of other weights or images, or none of ours: it is left alone.
    """

    def __init__(self, folder: Path, digest: str, *, restart: bool = False) -> None:
        self.path = folder / STUDY_FILE
        key = {"model and images": digest, "program": program_sha256()}
        _refuse_other(self.path, key)
        self._file = ProgressFile(self.path, STUDY_SCHEMA, key, restart=restart)
        self._kept: dict[_Key, Sequence[Compared]] = {}
        try:
            for entry in self._file.entries(TRIED):
                self._kept[entry["form"], entry["run"], entry["first"], entry["last"]] = entry["images"]
        except BaseException:
            self._file.__exit__(None, None, None)
            raise
        self.resumed = len(self._kept)

    def __enter__(self) -> StudyFile:
        return self

    def __exit__(self, *raised: object) -> None:
        self._file.__exit__(None, None, None)

    def kept(self, task: Task) -> Sequence[Compared] | None:
        """What an earlier call of `keep` was given."""
        return self._kept.get(_key(task))

    def keep(self, task: Task, images: Sequence[Compared]) -> None:
        """Writes a shard at once. Raises: UsageError: The disk is full or not writable."""
        form, run, first, last = _key(task)
        self._file.append([{"form": form, "run": run, "first": first, "last": last, "images": list(images)}])
        self._kept[_key(task)] = images


def _key(task: Task) -> _Key:
    return task.form.reduction, task.run, task.first, task.last


def _refuse_other(path: Path, key: Mapping[str, str]) -> None:
    """What another version, or another study, wrote is not ours to overwrite."""
    if not path.is_file():
        return
    with path.open("rb") as stream:
        line = stream.readline(LONGEST_LINE)
    if not line.endswith(b"\n"):  # torn in its first line: nothing was measured
        return
    header = None
    with contextlib.suppress(UsageError):
        header = parsed(line, HEADER, f"{path}: line 1")
    if header is None:
        return  # ProgressFile tells what is wrong with it
    found = header["schema"]
    if found != STUDY_SCHEMA:
        problem = f"is of schema {found!r}, this version writes {STUDY_SCHEMA!r}; it is left as it is"
        raise UsageError(str(path), problem, "give another --out-dir, or use the version that wrote it")
    different = [name for name in key if header["key"].get(name) != key[name]]
    if different:
        what = (
            "another version of edgeexport" if different == ["program"] else "other weights, another recipe or images"
        )
        raise UsageError(str(path), f"is a study of {what}; it is left as it is", "give another --out-dir")

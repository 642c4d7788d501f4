"""What runs over the same images gave, image by image: computed once, and kept in a file as soon as it is known."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from edgeexport.calibration.images import SegmenterOnImages
from edgeexport.documents import Kind
from edgeexport.evaluation.dataset import LabelledImage
from edgeexport.evaluation.progress_file import ProgressFile

__all__ = ["KeptResults"]

Run = TypeVar("Run", bound=Hashable)
Result = TypeVar("Result")


class KeptResults(Generic[Run, Result]):
    """Results by run and by image.

    Args:
        file: Opened with a key that tells what results depend on beside the run; its entries are taken up.
        kind: What an entry holds.
        segmenter: What is run, and on what.
        to_entry: (run, image's name, result) -> plain JSON values.
        from_entry: The inverse; None for an entry of another kind of run.

    Attributes:
        resumed: Results that the file held.
        complete: Runs that need no image any more.
    """

    def __init__(
        self,
        file: ProgressFile,
        kind: Kind[Any],
        segmenter: SegmenterOnImages,
        to_entry: Callable[[Run, str, Result], Mapping[str, Any]],
        from_entry: Callable[[Mapping[str, Any]], tuple[Run, str, Result] | None],
    ) -> None:
        self._file, self._to_entry = file, to_entry
        self._images, self._on_progress = segmenter.images, segmenter.on_progress
        self._results: dict[Run, dict[str, Result]] = {}
        for entry in file.entries(kind):
            if (stored := from_entry(entry)) is not None:
                run, name, result = stored
                self._results.setdefault(run, {})[name] = result
        self.resumed = sum(map(len, self._results.values()))
        self.complete: set[Run] = set()

    def of(
        self,
        run: Run,
        task: str,
        compute: Callable[[Iterator[LabelledImage]], Iterable[tuple[str, Result]]],
    ) -> Mapping[str, Result]:
        """Image name -> result, in the order of the images.

        Args:
            run: What is run.
            task: In words, for ``on_progress``.
            compute: From the images that are left to (name, result) of each, one by one.

        Raises:
            UsageError: No image can be used, or the file cannot be written.
        """
        results = self._results.setdefault(run, {})
        if run in self.complete:
            return results
        self._on_progress(len(results), self._images.expected, task)
        for name, result in compute(self._images.after(set(results))):
            self._file.append([self._to_entry(run, name, result)])
            results[name] = result
            self._on_progress(len(results), self._images.expected, task)
        self._results[run] = {name: results[name] for name in self._images.names if name in results}
        self.complete.add(run)
        return self._results[run]

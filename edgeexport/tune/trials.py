"""Forms measured on the first images of a folder, shard by shard; what was measured before is taken from the study file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from edgeexport.calibration.merging_candidate import Drop, drop_from_fidelity, low_end
from edgeexport.documents.fidelity import Compared
from edgeexport.errors import UsageError
from edgeexport.evaluation.against import measured_image
from edgeexport.evaluation.dataset import LeftOut
from edgeexport.evaluation.fidelity_result import Fidelity, Figure, accuracy_of, figures_over_images
from edgeexport.evaluation.photo_folder import Photograph
from edgeexport.tune.form import Form
from edgeexport.tune.measure import Opened, Run, Subject, Task
from edgeexport.tune.runner import InProcess, Runner
from edgeexport.tune.study_file import StudyFile

__all__ = ["SHARD", "Kept", "Trials", "shards"]

SHARD = 8
"""Images of a task; fixed, so that results do not depend on who measures."""


@dataclass(frozen=True)
class Kept:
    """What a form keeps of the dense model on some images.

    Attributes:
        images: How many were compared.
        cosines: Means with intervals, by name.
        shares: Agreement of labels, likewise.
        drop: In percentage points; None where nothing tells classes.
        by_image: Figure -> image -> value.
    """

    images: int
    cosines: Mapping[str, Figure]
    shares: Mapping[str, Figure]
    drop: Drop | None
    by_image: Mapping[str, Mapping[str, float]] = field(default_factory=dict, repr=False)

    @property
    def worst(self) -> Figure | None:
        """The cosine whose interval reaches lowest; else the share; None of neither."""
        figures = (self.cosines or self.shares).values()
        return min(figures, key=low_end, default=None)


def shards(images: int) -> tuple[tuple[int, int], ...]:
    """(first, last) of the shards of the first so many images."""
    return tuple((first, min(first + SHARD, images)) for first in range(0, images, SHARD))


class Trials:
    """Forms of one subject.

    Args:
        subject: With its digest.
        found: The subject, opened.
        study: Where results are kept.
        runner: What runs tasks.
        on_progress: Called with (images done, images in all, form) of every call of `measure`.

    Attributes:
        left_out: Images that cannot be used, by name.
        tasks: How many were computed, not taken from the study file.
    """

    def __init__(
        self,
        subject: Subject,
        found: Opened,
        study: StudyFile,
        runner: Runner,
        on_progress: Callable[[int, int, str], None],
    ) -> None:
        self._subject, self._found, self._study, self._runner = subject, found, study, runner
        self._on_progress = on_progress
        self._photos: Mapping[str, Photograph] = {photo.name: photo for photo in found.photos.photos}
        self.left_out: dict[str, LeftOut] = {}
        self.tasks = 0

    def known(self, form: Form, images: int, run: Run) -> bool:
        """Whether the study file has all of it."""
        tasks = (Task(self._subject, form, first, last, run) for first, last in shards(images))
        return all(self._study.kept(task) is not None for task in tasks)

    def measure(
        self, forms: Sequence[Form], images: int, run: Run = "torch", graphs: Mapping[Form, Path] | None = None
    ) -> list[Kept]:
        """Every form on the first ``images`` of the folder.

        Raises:
            UsageError: No image can be used; see `measured_images` for the rest.
        """
        wanted = [
            Task(self._subject, form, first, last, run, None if graphs is None else graphs[form])
            for form in dict.fromkeys(forms)
            for first, last in shards(images)
        ]
        missing = [task for task in wanted if self._study.kept(task) is None]
        total = sum(task.last - task.first for task in missing)
        done = 0
        runner = self._runner if run == "torch" else InProcess()  # exported graphs lie in this process's own folder
        for index, entries in runner.results(missing):
            task = missing[index]
            self._study.keep(task, entries)
            self.tasks += 1
            done += task.last - task.first
            self._on_progress(done, total, task.form.name)
        by_form: dict[Form, list[Compared]] = {form: [] for form in forms}
        for task in wanted:
            by_form[task.form] += self._study.kept(task) or ()
        return [self._kept(by_form[form]) for form in forms]

    def _kept(self, entries: Sequence[Compared]) -> Kept:
        for entry in entries:
            if "left_out" in entry:
                self.left_out[entry["left_out"]] = LeftOut(entry["left_out"], entry["problem"])
        usable = [measured_image(entry, self._photos[entry["name"]]) for entry in entries if "left_out" not in entry]
        if not usable:
            first = next(iter(self.left_out.values()))
            problem = f"no image of the first {len(entries)} can be used; {first.name}: {first.problem}"
            raise UsageError(f"--data {self._subject.data}", problem, "give other images")
        figures = figures_over_images(usable)
        cosines = {name: figure for name, figure in figures.items() if figure.kind == "cosine"}
        shares = {name: figure for name, figure in figures.items() if figure.kind == "share" and name != "top class"}
        accuracy = accuracy_of(usable) if self._found.photos.classes else {}
        told = replace(_NOTHING, images=len(usable), figures=figures, accuracy=accuracy, measured=tuple(usable))
        by_image = {name: {image.name: image.figures[name] for image in usable} for name in (*cosines, *shares)}
        return Kept(len(usable), cosines, shares, drop_from_fidelity(told) or _pixels_lost(shares), by_image)


def _pixels_lost(shares: Mapping[str, Figure]) -> Drop | None:
    """Percent of pixels that are labelled otherwise than by the dense model; None without a class map."""
    figure = min(shares.values(), key=low_end, default=None)
    if figure is None:
        return None
    ends = figure.interval
    if ends is not None:
        ends = replace(ends, low=100 * (1 - ends.high), high=100 * (1 - ends.low))
    return Drop("pixel agreement", Figure("percent", 100 * (1 - figure.mean), ends))


_NOTHING = Fidelity(
    name="",
    kind="recipe",
    recipe="",
    weights={},
    against="dense",
    runtime="",
    macs=0,
    against_macs=0,
    data=Path(),
    data_sha256="",
    images=0,
    classes=(),
    figures={},
    accuracy={},
    not_told={},
    left_out=(),
    versions={},
    file=Path(),
)

"""What a study found: the front of time and loss, what is chosen, and in sentences on what that rests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeexport.calibration.merging_candidate import low_end
from edgeexport.evaluation.fidelity_result import Figure
from edgeexport.tune.bounds import Bounds
from edgeexport.tune.form import Form
from edgeexport.tune.ladder import Ladder, Step
from edgeexport.tune.trials import Kept

__all__ = ["SCHEMA", "Point", "TuneResult", "front"]

SCHEMA = "edgeexport.tune/1"


@dataclass(frozen=True)
class Point:
    """A form in a precision, measured on all images.

    Attributes:
        cost: Of one image, in the study's unit: by its own plan where ``planned``, else by the table of tokens.
        kept: Beside the dense model in float32; None of that model itself.
        exported: Whether ``kept`` is of the exported graph in ONNX Runtime; else of the float32 form in torch.
        kernels: Of its plan; 0 where none was compiled.
    """

    form: Form
    precision: str
    tokens_out: int
    macs: int
    cost: float
    planned: bool
    kept: Kept | None
    exported: bool = False
    kernels: int = 0

    @property
    def name(self) -> str:
        """For people."""
        return f"{'the dense model' if self.form.is_dense else self.form.name}, {self.precision}"

    @property
    def worst(self) -> float:
        """Mean of the worst cosine, or share; 1 of the dense model itself."""
        return 1.0 if self.kept is None or self.kept.worst is None else self.kept.worst.mean

    def holds(self, bounds: Bounds) -> bool:
        """Whether it keeps the bound on what is lost and, by its own plan, the budget."""
        within = bounds.latency_ms is None or self.cost <= bounds.latency_ms
        return within and (self.kept is None or bounds.holds(self.kept))

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        kept = self.kept
        return {
            "form": self.form.name,
            "reduction": repr(self.form.config),
            "precision": self.precision,
            "tokens_out": self.tokens_out,
            "macs": self.macs,
            "cost": round(self.cost, 6),
            "cost_from": "its own plan" if self.planned else "plan of the dense model by tokens",
            "kernels": self.kernels,
            "measured_in": "ONNX Runtime" if self.exported else "torch",
            "images": None if kept is None else kept.images,
            "cosines": {} if kept is None else {name: item.as_dict() for name, item in kept.cosines.items()},
            "shares": {} if kept is None else {name: item.as_dict() for name, item in kept.shares.items()},
            "drop": None if kept is None or kept.drop is None else kept.drop.as_dict(),
        }


@dataclass(frozen=True)
class TuneResult:
    """A finished study.

    Attributes:
        recipe: By name; ``subject`` as given.
        weights: `edgeexport.fixed.weights.WeightsOrigin` as a dict.
        bounds: What was asked for.
        unit: Of costs: 'ms' or 'MACs'; ``costs_from``: where they are from.
        points: Every form that saw all images, and the dense model, in the precisions that were looked at.
        chosen: Of these; the dense model where nothing beats it.
        floor: Random merging of as many tokens as the chosen form.
        pruned: Forms that were given up after some of the images -> how many.
        ladders: Every way's counts.
        images, trials: How many.
        stopped: Why the search ended early; ''.
        reason: Why the dense model is what is left; ''.
        not_tried: Sentences.
        recipe_file, picture, file: What was written.
    """

    recipe: str
    subject: str
    weights: Mapping[str, Any]
    data: Path
    target: str
    bounds: Bounds
    unit: str
    costs_from: str
    points: tuple[Point, ...]
    chosen: Point
    floor: Point | None
    pruned: Mapping[Form, int]
    ladders: tuple[Ladder, ...]
    images: int
    left_out: Sequence[Mapping[str, str]]
    trials: int
    stopped: str
    reason: str
    not_tried: tuple[str, ...]
    recipe_file: Path | None
    picture: Path
    file: Path

    @property
    def dense_wins(self) -> bool:
        """Whether no reduced form is better."""
        return self.chosen.form.is_dense

    @property
    def dense(self) -> Point:
        """The dense model at its cheapest among those that keep what was asked, else at its cheapest."""
        dense = [point for point in self.points if point.form.is_dense]
        return min([point for point in dense if point.holds(self.bounds)] or dense, key=lambda point: point.cost)

    @property
    def front(self) -> tuple[Point, ...]:
        """Points that no other beats in both cost and loss, the cheapest first."""
        return front(self.points)

    @property
    def beats_floor(self) -> bool:
        """Whether these images tell that the chosen form loses less than random merging, by the lowest means."""
        chosen, floor = self.chosen.kept, None if self.floor is None else self.floor.kept
        if chosen is None or floor is None or chosen.worst is None or floor.worst is None:
            return False
        return low_end(chosen.worst) > floor.worst.mean

    @property
    def statement(self) -> str:
        """What is chosen and on what it rests, in sentences."""
        chosen = self.chosen
        said = []
        if self.dense_wins:
            said.append(f"The dense model wins, in {chosen.precision}: {self.reason}.")
            said.append(f"It takes {self.cost_text(chosen)}.")
        else:
            dense = self.dense
            share = dense.cost / chosen.cost
            said.append(
                f"{chosen.name}: {self.cost_text(chosen)}, the dense model {self.cost_text(dense)} in {dense.precision} "
                f"({share:.2f} times as fast)."
                if self.unit == "ms"
                else f"{chosen.name}: {self.cost_text(chosen)}, the dense model {self.cost_text(dense)}."
            )
        said += self._lost(chosen)
        if self.floor is not None:
            said.append(
                "Random merging of as many tokens loses more."
                if self.beats_floor
                else "Random merging of as many tokens is as good, as far as these images tell."
            )
        given_up = f", {len(self.pruned)} of them given up early" if self.pruned else ""
        seen = len({point.form for point in self.points if not point.form.is_dense}) + len(self.pruned)
        said.append(f"{self.trials} trials looked at {seen} forms{given_up}, on up to {self.images} images.")
        if self.stopped:
            said.append(f"The search ended because {self.stopped}.")
        if not self.dense_wins:
            said.append("Chosen and measured on the same images: on others expect a little less.")
        return " ".join(said)

    def cost_text(self, point: Point) -> str:
        """With its unit and how it was obtained."""
        if self.unit == "MACs":
            return f"{point.cost / 1e9:.3f} GMAC"
        return f"{point.cost:.3f} ms {self.costs_from.partition(' ')[0]}"

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {
            "schema": SCHEMA,
            "provenance": f"losses measured; costs {self.costs_from}",
            "recipe": self.recipe,
            "subject": self.subject,
            "weights": dict(self.weights),
            "data": str(self.data),
            "target": self.target,
            "request": self.bounds.text,
            "unit": self.unit,
            "costs_from": self.costs_from,
            "chosen": self.chosen.as_dict(),
            "dense_wins": self.dense_wins,
            "reason": self.reason,
            "statement": self.statement,
            "floor": None if self.floor is None else self.floor.as_dict(),
            "beats_floor": self.beats_floor,
            "front": [point.as_dict() for point in self.front],
            "points": [point.as_dict() for point in self.points],
            "given_up": [{"form": form.name, "images": images} for form, images in sorted(self.pruned.items())],
            "stairs": {ladder.way: [_stair(step) for step in ladder.steps] for ladder in self.ladders},
            "images": self.images,
            "left_out": [dict(item) for item in self.left_out],
            "trials": self.trials,
            "stopped": self.stopped,
            "not_tried": list(self.not_tried),
            "recipe_file": None if self.recipe_file is None else str(self.recipe_file),
            "picture": str(self.picture),
        }

    @staticmethod
    def _lost(chosen: Point) -> list[str]:
        kept = chosen.kept
        if kept is None:
            return []
        where = "in the exported graph" if chosen.exported else "in torch"
        said = []
        if kept.worst is not None:
            figures = kept.cosines or kept.shares
            name, worst = min(figures.items(), key=lambda item: low_end(item[1]))
            kind = "Lowest mean cosine to" if kept.cosines else "Pixels labelled as by"
            said.append(f"{kind} the dense model on {kept.images} images, {where}: {_ends(worst, 4)} ({name}).")
        if kept.drop is not None:
            said.append(f"Points of {kept.drop.measure} lost: {_ends(kept.drop.figure, 2)}.")
        return said


def front(points: Sequence[Point]) -> tuple[Point, ...]:
    """Points that no other beats in both cost and the worst cosine, the cheapest first; of equal ones the first."""
    kept: list[Point] = []
    for point in sorted(points, key=lambda item: (item.cost, -item.worst)):
        if not kept or point.worst > kept[-1].worst:
            kept.append(point)
    return tuple(kept)


def _stair(step: Step) -> dict[str, Any]:
    return {
        "counts": step.form.counts,
        "tokens_out": step.tokens_out,
        "cost": round(step.cost, 6),
        "counts_of_equal_cost": step.counts,
    }


def _ends(figure: Figure, digits: int) -> str:
    if figure.interval is None:
        return f"{figure.mean:.{digits}f} on one image"
    low, high = figure.interval.low, figure.interval.high
    return f"{figure.mean:.{digits}f} (95 % interval {low:.{digits}f} to {high:.{digits}f})"

"""What a calibration of counts proposes, beside the dense model and the counts before alignment, and what it says of it.

Everything is per image. Costs count all that runs: the auxiliary heads of the stages that prune, and the policy network
where tokens are shared. Quality and its differences are in percent points.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edgeexport.calibration.counts import Counts
from edgeexport.calibration.coverage import CoveredImages
from edgeexport.calibration.request import Request

if TYPE_CHECKING:
    from edgeexport.calibration.published_quality import PublishedFigures
    from edgeexport.evaluation.interval import Interval

__all__ = ["Proposal", "ProposedCounts", "cost_text", "counts_text", "signed_text"]

_CONFIDENCE = "95 % confidence"


@dataclass(frozen=True)
class ProposedCounts:
    """One set of counts, with what it costs and how good it is.

    Attributes:
        counts: S and k.
        tokens: Left after sharing and after each stage.
        macs: Multiply-accumulates, everything that runs.
        policy_macs: Of these the policy network's.
        cost: In the proposal's unit; equal to ``macs`` where that is MACs.
        quality: Percent.
        loss: Interval of the points that it is below the dense model; None for the dense model itself, or on one image.
    """

    counts: Counts
    tokens: tuple[int, ...]
    macs: int
    policy_macs: int
    cost: float
    quality: float
    loss: Interval | None = None

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {
            **self.counts.as_dict(),
            "tokens": list(self.tokens),
            "macs": self.macs,
            "policy_macs": self.policy_macs,
            "cost": self.cost,
            "quality": self.quality,
            "loss_interval": _json(self.loss),
        }


@dataclass(frozen=True)
class Proposal:
    """The outcome of a calibration.

    Attributes:
        recipe: Its name.
        request: What was asked for.
        images: How many images it rests on.
        measure: What quality is: 'mIoU', or 'agreement' with the dense model's class maps.
        unit: Of cost: 'MACs' or 'ms'.
        device: Where the milliseconds are from; '' with MACs.
        dense: The model without reduction.
        chosen: The counts found; token counts are multiples of ``align`` after every step.
        exact: The counts that the same request gives without alignment; None where there are none but ``chosen``.
        align: What token counts are multiples of.
        coverage: In how many images ``chosen`` prunes and shares nothing that the published rule would keep; None without a
            threshold for every stage.
        coverage_interval: Of the share of images that this is.
        published: Pruned by the thresholds given, with the recipe's S; None without labels or stages.
        equal_mean: Likewise, with the S of ``chosen``, and thresholds that prune as many tokens on average.
        candidates: Sets of counts whose quality was measured.
        reason: Why the dense model wins; '' where ``chosen`` is worth it.
        notes: What a reader has to know beside.
    """

    recipe: str
    request: Request
    images: int
    measure: str
    unit: str
    device: str
    dense: ProposedCounts
    chosen: ProposedCounts
    exact: ProposedCounts | None
    align: int
    coverage: CoveredImages | None
    coverage_interval: Interval | None
    published: PublishedFigures | None
    equal_mean: PublishedFigures | None
    candidates: int
    reason: str
    notes: tuple[str, ...] = field(default=())

    @property
    def worth(self) -> bool:
        """Whether to reduce at all."""
        return not self.reason

    @property
    def proposed(self) -> ProposedCounts:
        """What the written recipe does: ``chosen``, or the dense model where that wins."""
        return self.chosen if self.worth else self.dense

    @property
    def statement(self) -> str:
        """What was found, in sentences."""
        said = (self._verdict, self._quality, self._against_thresholds, self._coverage, self._alignment)
        return " ".join(sentence for sentence in (*(say() for say in said), *self.notes) if sentence)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        chosen, dense = self.chosen, self.dense
        return {
            "method": self.request.method,
            "request": self.request.value,
            "threshold": self.request.threshold,
            "worth": self.worth,
            "reason": self.reason,
            "statement": self.statement,
            "images": self.images,
            "measure": self.measure,
            "unit": self.unit,
            "device": self.device,
            "align": self.align,
            **chosen.counts.as_dict(),
            "macs": chosen.macs,
            "dense_macs": dense.macs,
            "cost": chosen.cost,
            "dense_cost": dense.cost,
            "quality": chosen.quality,
            "dense_quality": dense.quality,
            "loss_interval": _json(chosen.loss),
            "coverage": _json(self.coverage),
            "coverage_interval": _json(self.coverage_interval),
            "candidates": self.candidates,
            "forms": {
                "dense": dense.as_dict(),
                "aligned": chosen.as_dict(),
                "exact": _json(self.exact),
                "adaptive": _json(self.published),
                "adaptive_at_equal_mean": _json(self.equal_mean),
            },
            "notes": list(self.notes),
        }

    def cost_change(self, measured: ProposedCounts, reference: ProposedCounts) -> str:
        """How much dearer or cheaper ``measured`` is, in percent of ``reference``."""
        return signed_text(100 * (measured.cost / reference.cost - 1), 1) + " %"

    def macs_change(self, published: PublishedFigures) -> str:
        """How many multiply-accumulates the published computation takes, more or fewer than the dense model: '-12.3 %'."""
        return signed_text(100 * (published.macs / self.dense.macs - 1), 1) + " %"

    def _verdict(self) -> str:
        if not self.worth:
            return f"The dense model wins: {self.reason}."
        chosen, dense = self.chosen, self.dense
        cost = f"{cost_text(chosen.cost, self.unit)} against {cost_text(dense.cost, self.unit)} dense"
        policy = ", policy network included" if chosen.counts.num_shared else ""
        text = counts_text(chosen.counts)
        sentence = f"{text[0].upper()}{text[1:]}: {cost} ({self.cost_change(chosen, dense)}{policy})."
        if self.unit != "ms":
            return sentence
        macs = f"{chosen.macs / 1e9:.3f} against {dense.macs / 1e9:.3f} GMAC"
        return f"{sentence} The milliseconds are a sum of the table's parts ({self.device}); {macs}."

    def _quality(self) -> str:
        chosen, dense, images, loss = self.chosen, self.dense, _images(self.images), self.chosen.loss
        if chosen.counts == dense.counts:
            return f"It rests on {images}."
        it = "These counts give" if self.worth else "What it was compared with gives"
        if self.measure == "mIoU":
            between = "" if loss is None else f" ({_CONFIDENCE}: {_range(loss)})"
            below = f"{_points(dense.quality - chosen.quality)}{between}"
            return f"{it} an mIoU of {chosen.quality:.2f} % against {dense.quality:.2f} % dense on {images}: {below}."
        between = "" if loss is None else f" ({_CONFIDENCE}: {100 - loss.high:.2f} to {100 - loss.low:.2f} %)"
        text = f"{it} the dense model's class at {chosen.quality:.2f} % of the pixels of {images}{between}"
        return f"{text}; without labels that says nothing of accuracy."

    def _against_thresholds(self) -> str:
        published = self.equal_mean
        if published is None:
            return ""
        lost = published.quality - self.chosen.quality
        change = f"the same k for all images {'costs' if lost > 0 else 'gains'} {abs(lost):.2f} points"
        between = "" if published.gain is None else f" ({_CONFIDENCE}: {_range(published.gain)})"
        average = f"By thresholds that prune as many tokens on average it is {published.quality:.2f} %"
        return f"{average}: {change}{between}."

    def _coverage(self) -> str:
        covered, interval = self.coverage, self.coverage_interval
        if covered is None or interval is None or not covered.per_block:
            return ""
        between = f"{_CONFIDENCE}: {100 * interval.low:.1f} to {100 * interval.high:.1f} %"
        share = f"{100 * covered.together / covered.images:.1f} %; {between}"
        nothing = []
        if set(covered.per_block) != {0}:
            nothing.append("prune nothing that the adaptive form would keep")
        if 0 in covered.per_block:
            nothing.append("share no window that the policy network would not")
        return f"In {covered.together} of {_images(covered.images)} ({share}) they {' and '.join(nothing)}."

    def _alignment(self) -> str:
        exact, chosen = self.exact, self.chosen
        if exact is None or not self.worth:
            return ""
        if exact.counts == chosen.counts:
            return f"Every token count is a multiple of {self.align} as it is."
        cost = self.cost_change(chosen, exact)
        quality = f"{self.measure} by {signed_text(chosen.quality - exact.quality, 2)} points"
        text = f"Not aligned, they would be: {counts_text(exact.counts)}"
        return f"{text}; multiples of {self.align} tokens change the cost by {cost} and {quality}."


def cost_text(cost: float, unit: str) -> str:
    """A cost with its unit, MACs as GMAC."""
    return f"{cost / 1e9:.3f} GMAC" if unit == "MACs" else f"{cost:.3f} ms"


def counts_text(counts: Counts) -> str:
    """Counts in words."""
    steps = [f"share {counts.num_shared} windows"] if counts.num_shared else []
    if counts.prune:
        first, *others = counts.prune
        steps.append(f"prune {first[1]} tokens after block {first[0]}")
        steps += [f"{k} after block {block}" for block, k in others]
    if not steps:
        return "share and prune nothing"
    return steps[0] if len(steps) == 1 else f"{', '.join(steps[:-1])} and {steps[-1]}"


def signed_text(value: float, digits: int) -> str:
    """A number with its sign; what rounds to zero has none."""
    text = f"{value:+.{digits}f}"
    return text[1:] if float(text) == 0 else text


def _json(value: CoveredImages | Interval | ProposedCounts | PublishedFigures | None) -> dict[str, Any] | None:
    return None if value is None else value.as_dict()


def _points(loss: float) -> str:
    text = f"{abs(loss):.2f} points"
    return f"{text} {'below' if loss > 0 else 'above'}" if f"{abs(loss):.2f}" != "0.00" else "no difference"


def _range(loss: Interval) -> str:
    low, high = loss.low, loss.high
    if high < 0:
        return f"{-high:.2f} to {-low:.2f} above"
    return f"{low:.2f} to {high:.2f} below" if low >= 0 else f"{-low:.2f} above to {high:.2f} below"


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"

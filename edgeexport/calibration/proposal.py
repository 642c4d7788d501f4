"""What a calibration of counts proposes, beside the dense model and the counts before alignment, and what it says of it.

Everything is per image. Costs count all that runs: the auxiliary heads of the stages that prune, and the policy network
where tokens are shared. Quality and its differences are in percent points.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edgeexport.calibration.counts import Counts
from edgeexport.calibration.coverage import CoveredImages

if TYPE_CHECKING:
    from edgeexport.calibration.interval import Interval
    from edgeexport.calibration.threshold_forms import ThresholdForm

__all__ = ["METHODS", "Form", "Proposal", "Request", "cost_text", "counts_text", "signed_text"]

METHODS = ("coverage", "max-miou-drop", "macs", "latency-ms")
_CONFIDENCE = "95 % confidence"


@dataclass(frozen=True)
class Request:
    """One of `METHODS` with its number: a share of images, points of mIoU, multiply-accumulates or milliseconds.

    ``threshold`` was given instead of those that the heads state; None: it was not.
    """

    method: str
    value: float
    threshold: float | None = None

    @property
    def text(self) -> str:
        """As on the command line."""
        threshold = "" if self.threshold is None else f" --threshold {self.threshold:g}"
        value = f"{self.value / 1e9:g}e9" if self.method == "macs" and self.value >= 1e7 else f"{self.value:g}"
        return f"--{self.method} {value}{threshold}"


@dataclass(frozen=True)
class Form:
    """One set of counts, with what it costs and how good it is.

    Attributes:
        counts: S and k.
        tokens: Left after sharing and after each stage.
        macs: Multiply-accumulates, everything that runs.
        policy_macs: Of these the policy network's.
        cost: In the proposal's unit; equal to ``macs`` where that is MACs.
        quality: Percent, or None where it was not measured.
        loss: Interval of the points that it is below the dense model; None for the dense model itself, or on one image.
    """

    counts: Counts
    tokens: tuple[int, ...]
    macs: int
    policy_macs: int
    cost: float
    quality: float | None = None
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
            "loss_interval": None if self.loss is None else self.loss.as_dict(),
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
        coverage: In how many images ``chosen`` prunes and shares nothing that the adaptive form would keep; None without a
            threshold for every stage.
        coverage_interval: Of the share of images that this is.
        adaptive: The form that prunes by the thresholds given, with the recipe's S; None without labels or stages.
        equal_mean: The one with the S of ``chosen``, and thresholds that prune as many tokens on average.
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
    dense: Form
    chosen: Form
    exact: Form | None
    align: int
    coverage: CoveredImages | None
    coverage_interval: Interval | None
    adaptive: ThresholdForm | None
    equal_mean: ThresholdForm | None
    candidates: int
    reason: str
    notes: tuple[str, ...] = field(default=())

    @property
    def worth(self) -> bool:
        """Whether to reduce at all."""
        return not self.reason

    @property
    def proposed(self) -> Form:
        """What the written recipe does: ``chosen``, or the dense model where that wins."""
        return self.chosen if self.worth else self.dense

    @property
    def statement(self) -> str:
        """What was found, in sentences."""
        return " ".join(
            [
                *self._verdict(),
                *self._quality(),
                *self._against_thresholds(),
                *self._coverage(),
                *self._alignment(),
                *self.notes,
            ]
        )

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
            "loss_interval": None if chosen.loss is None else chosen.loss.as_dict(),
            "coverage": None if self.coverage is None else self.coverage.as_dict(),
            "coverage_interval": None if self.coverage_interval is None else self.coverage_interval.as_dict(),
            "candidates": self.candidates,
            "forms": {
                "dense": dense.as_dict(),
                "aligned": chosen.as_dict(),
                "exact": None if self.exact is None else self.exact.as_dict(),
                "adaptive": None if self.adaptive is None else self.adaptive.as_dict(),
                "adaptive_at_equal_mean": None if self.equal_mean is None else self.equal_mean.as_dict(),
            },
            "notes": list(self.notes),
        }

    def cost_text(self, cost: float) -> str:
        """A cost with its unit."""
        return cost_text(cost, self.unit)

    def cost_change(self, form: Form, reference: Form) -> str:
        """How much dearer or cheaper ``form`` is, in percent of ``reference``."""
        return signed_text(100 * (form.cost / reference.cost - 1), 1) + " %"

    def _verdict(self) -> list[str]:
        if not self.worth:
            return [f"The dense model wins: {self.reason}."]
        chosen = self.chosen
        cost = f"{self.cost_text(chosen.cost)} against {self.cost_text(self.dense.cost)} dense"
        policy = ", policy network included" if chosen.counts.num_shared else ""
        change = self.cost_change(chosen, self.dense)
        text = counts_text(chosen.counts)
        found = [f"{text[0].upper()}{text[1:]}: {cost} ({change}{policy})."]
        if self.unit == "ms":
            macs = f"{chosen.macs / 1e9:.3f} against {self.dense.macs / 1e9:.3f} GMAC"
            found.append(f"The milliseconds are a sum of the table's parts ({self.device}); {macs}.")
        return found

    def _quality(self) -> list[str]:
        chosen, dense = self.chosen, self.dense
        if chosen.quality is None or dense.quality is None or chosen.counts == dense.counts:
            return [f"It rests on {_images(self.images)}."]
        between = f" ({_CONFIDENCE}: {_range(chosen.loss)})" if chosen.loss is not None else ""
        below = f"{_points(dense.quality - chosen.quality)}{between}"
        it = "These counts give" if self.worth else "What it was compared with gives"
        if self.measure == "mIoU":
            text = (
                f"{it} an mIoU of {chosen.quality:.2f} % against {dense.quality:.2f} % dense on {_images(self.images)}"
            )
            return [f"{text}: {below}."]
        text = f"{it} the dense model's class at {chosen.quality:.2f} % of the pixels of {_images(self.images)}"
        if chosen.loss is not None:
            between = f" ({_CONFIDENCE}: {100 - chosen.loss.high:.2f} to {100 - chosen.loss.low:.2f} %)"
        return [f"{text}{between}; without labels that says nothing of accuracy."]

    def _against_thresholds(self) -> list[str]:
        form, chosen = self.equal_mean, self.chosen
        if form is None or chosen.quality is None:
            return []
        lost = form.quality - chosen.quality
        change = f"the same k for all images {'costs' if lost > 0 else 'gains'} {abs(lost):.2f} points"
        between = "" if form.gain is None else f" ({_CONFIDENCE}: {_range(form.gain)})"
        return [f"By thresholds that prune as many tokens on average it is {form.quality:.2f} %: {change}{between}."]

    def _coverage(self) -> list[str]:
        found, interval = self.coverage, self.coverage_interval
        if found is None or interval is None or not found.per_block:
            return []
        between = f"{_CONFIDENCE}: {100 * interval.low:.1f} to {100 * interval.high:.1f} %"
        share = f"{100 * found.together / found.images:.1f} %; {between}"
        nothing = []
        if set(found.per_block) != {0}:
            nothing.append("prune nothing that the adaptive form would keep")
        if 0 in found.per_block:
            nothing.append("share no window that the policy network would not")
        return [f"In {found.together} of {_images(found.images)} ({share}) they {' and '.join(nothing)}."]

    def _alignment(self) -> list[str]:
        exact, chosen = self.exact, self.chosen
        if exact is None or not self.worth:
            return []
        if exact.counts == chosen.counts:
            return [f"Every token count is a multiple of {self.align} as it is."]
        cost = self.cost_change(chosen, exact)
        quality = ""
        if exact.quality is not None and chosen.quality is not None:
            quality = f" and {self.measure} by {signed_text(chosen.quality - exact.quality, 2)} points"
        text = f"Not aligned, they would be: {counts_text(exact.counts)}"
        return [f"{text}; multiples of {self.align} tokens change the cost by {cost}{quality}."]


def cost_text(cost: float, unit: str) -> str:
    """A cost with its unit, MACs as GMAC."""
    return f"{cost / 1e9:.3f} GMAC" if unit == "MACs" else f"{cost:.3f} ms"


def counts_text(counts: Counts) -> str:
    """Counts in words."""
    parts = [f"share {counts.num_shared} windows"] if counts.num_shared else []
    if counts.prune:
        first, *others = counts.prune
        parts.append(f"prune {first[1]} tokens after block {first[0]}")
        parts += [f"{k} after block {block}" for block, k in others]
    if not parts:
        return "share and prune nothing"
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def signed_text(value: float, digits: int) -> str:
    """A number with its sign; what rounds to zero has none."""
    text = f"{value:+.{digits}f}"
    return text[1:] if float(text) == 0 else text


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

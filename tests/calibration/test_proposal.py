"""What a proposal says: numbers and words of constructed outcomes."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from edgeexport.calibration.counts import Counts
from edgeexport.calibration.coverage import CoveredImages
from edgeexport.calibration.proposal import Proposal, ProposedCounts, counts_text, signed_text
from edgeexport.calibration.published_quality import PublishedFigures
from edgeexport.calibration.request import Request
from edgeexport.evaluation.interval import Interval


def between(low: float, high: float) -> Interval:
    return Interval(low, high, 10, 0.95, "by hand")


DENSE = ProposedCounts(Counts(), (64,), 1_000_000_000, 0, 1e9, quality=80.0)
CHOSEN = ProposedCounts(
    Counts(8, ((3, 16),)), (40, 24), 600_000_000, 50_000_000, 6e8, quality=79.6, loss=between(0.1, 0.9)
)
EXACT = ProposedCounts(
    Counts(8, ((3, 18),)), (40, 22), 580_000_000, 50_000_000, 5.8e8, quality=79.5, loss=between(0.2, 1.0)
)
COVERED = CoveredImages(images=10, per_block={0: 10, 3: 9}, pruning=9, together=9)


def proposal(**changes: object) -> Proposal:
    found = Proposal(
        recipe="tiny",
        request=Request("coverage", 0.9),
        images=10,
        measure="mIoU",
        unit="MACs",
        device="",
        dense=DENSE,
        chosen=CHOSEN,
        exact=EXACT,
        align=8,
        coverage=COVERED,
        coverage_interval=between(0.555, 0.9975),
        published=None,
        equal_mean=None,
        candidates=4,
        reason="",
    )
    return replace(found, **changes)


def test_everything_that_a_decision_needs_is_said() -> None:
    said = proposal().statement
    assert said.startswith(
        "Share 8 windows and prune 16 tokens after block 3: 0.600 GMAC against 1.000 GMAC dense (-40.0 %"
    )
    assert "policy network included" in said
    assert "an mIoU of 79.60 % against 80.00 % dense on 10 images: 0.40 points below" in said
    assert "(95 % confidence: 0.10 to 0.90 below)" in said
    assert "In 9 of 10 images (90.0 %; 95 % confidence: 55.5 to 99.8 %)" in said
    assert (
        "they prune nothing that the adaptive form would keep and share no window that the policy network would not"
        in said
    )
    assert "Not aligned, they would be: share 8 windows and prune 18 tokens after block 3;" in said
    assert "multiples of 8 tokens change the cost by +3.4 % and mIoU by +0.10 points" in said


def test_what_fixing_the_counts_gives_up_is_said() -> None:
    published = PublishedFigures(8, {3: 0.9}, (40.0, 40.0, 24.0), 6e8, 79.85, gain=between(0.1, 0.4))
    said = proposal(equal_mean=published).statement
    assert (
        "By thresholds that prune as many tokens on average it is 79.85 %: the same k for all images costs 0.25 points"
        in said
    )
    assert "(95 % confidence: 0.10 to 0.40 below)" in said
    assert "gains 0.10 points" in proposal(equal_mean=replace(published, quality=79.5)).statement
    assert published.tokens_mean == pytest.approx(34.667, abs=1e-3)


def test_a_gain_is_called_above() -> None:
    better = replace(CHOSEN, quality=80.3, loss=between(-0.9, 0.2))
    said = proposal(chosen=better).statement
    assert "0.30 points above (95 % confidence: 0.90 above to 0.20 below)" in said
    assert "no difference" in proposal(chosen=replace(CHOSEN, quality=80.001)).statement
    assert (
        "(95 % confidence: 0.20 to 0.90 above)" in proposal(chosen=replace(CHOSEN, loss=between(-0.9, -0.2))).statement
    )


def test_when_the_dense_model_wins_it_says_so_first_and_proposes_it() -> None:
    found = proposal(reason="the counts cost more than they save")
    assert not found.worth
    assert found.statement.startswith("The dense model wins: the counts cost more than they save.")
    assert "Not aligned" not in found.statement
    assert found.proposed == DENSE
    assert proposal().proposed == CHOSEN


def test_without_labels_nothing_is_called_accuracy() -> None:
    said = proposal(measure="agreement", dense=replace(DENSE, quality=100.0), coverage=None).statement
    assert "mIoU" not in said
    assert "the dense model's class at 79.60 % of the pixels of 10 images (95 % confidence: 99.10 to 99.90 %)" in said
    assert "says nothing of accuracy" in said


def test_milliseconds_name_their_table() -> None:
    dense, chosen = replace(DENSE, cost=10.0), replace(CHOSEN, cost=7.5)
    said = proposal(unit="ms", device="Orin", dense=dense, chosen=chosen, exact=None).statement
    assert "7.500 ms against 10.000 ms dense (-25.0 %" in said
    assert "a sum of the table's parts (Orin); 0.600 against 1.000 GMAC" in said


def test_alignment_that_changes_nothing() -> None:
    assert "Every token count is a multiple of 8 as it is." in proposal(exact=CHOSEN).statement
    assert "ultiple" not in proposal(exact=None).statement


def test_json_holds_both_forms_and_the_verdict() -> None:
    document = json.loads(json.dumps(proposal().as_dict()))
    assert document["worth"] is True
    assert (document["num_shared"], document["prune"]) == (8, {"3": 16})
    assert document["forms"]["exact"]["prune"] == {"3": 18}
    assert (document["macs"], document["dense_macs"], document["images"]) == (600_000_000, 1_000_000_000, 10)
    assert document["coverage"]["per_block"] == {"0": 10, "3": 9}
    assert (document["loss_interval"]["low"], document["loss_interval"]["high"]) == (0.1, 0.9)


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        (Counts(), "share and prune nothing"),
        (Counts(3), "share 3 windows"),
        (Counts(0, ((6, 8),)), "prune 8 tokens after block 6"),
        (Counts(2, ((6, 8), (8, 5))), "share 2 windows, prune 8 tokens after block 6 and 5 after block 8"),
    ],
)
def test_counts_in_words(counts: Counts, text: str) -> None:
    assert counts_text(counts) == text


def test_signs() -> None:
    assert [signed_text(value, 1) for value in (1.25, -3.0, 0.04, -0.04)] == ["+1.2", "-3.0", "0.0", "0.0"]

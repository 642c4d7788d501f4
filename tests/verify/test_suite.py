"""Which comparisons run, on how many images, and what they prove together: with comparisons that are made up."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from edgeexport.verify import suite
from edgeexport.verify.compare import Comparison
from edgeexport.verify.reference import BATCH_CHECK, ORIGINAL_CHECK, RUNTIME_CHECK
from edgeexport.verify.suite import IMAGES_NEEDED, parity_status, run_parity

PASS, FAIL, SKIP = "passed", "failed", "not-applicable"


class Scripted:
    """Replaces the comparisons of `edgeexport.verify.parity` by statuses from a script, image by image."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **script: list[str]) -> None:
        self.seen: dict[str, list[int]] = {RUNTIME_CHECK: [], ORIGINAL_CHECK: [], BATCH_CHECK: []}
        self.drawn: list[int] = []
        self.script = {
            RUNTIME_CHECK: script.get("runtime", [PASS] * 4),
            ORIGINAL_CHECK: script.get("adaptive", [PASS] * 4),
            BATCH_CHECK: script.get("batch", [PASS] * 4),
        }
        monkeypatch.setattr(suite, "runtime_comparison", lambda fixed, ref, runner: self.compare(RUNTIME_CHECK, ref))
        monkeypatch.setattr(suite, "original_comparison", lambda fixed, ref: self.compare(ORIGINAL_CHECK, ref))
        monkeypatch.setattr(suite, "batch_comparison", lambda fixed, ref, runner: self.compare(BATCH_CHECK, ref))

    def compare(self, check: str, image: int) -> Comparison:
        self.seen[check].append(image)
        return Comparison(check, "a", "b", (f"{image}.jpg",), self.script[check][image])

    def references(self, count: int = 4) -> Iterator[int]:
        for image in range(count):
            self.drawn.append(image)
            yield image

    def run(self, *, batch: int = 1, images: int = 4, every: bool = False) -> list[Comparison]:
        fixed: Any = SimpleNamespace(recipe=SimpleNamespace(input=SimpleNamespace(batch=batch)))
        return run_parity(fixed, object(), self.references(images), every=every)  # type: ignore[arg-type]


def test_two_images_are_needed() -> None:
    assert IMAGES_NEEDED == 2


def test_stops_when_enough_images_have_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    scripted = Scripted(monkeypatch)
    found = scripted.run()
    assert [(item.check, item.images) for item in found] == [
        (RUNTIME_CHECK, ("0.jpg",)),
        (RUNTIME_CHECK, ("1.jpg",)),
        (ORIGINAL_CHECK, ("0.jpg",)),
        (ORIGINAL_CHECK, ("1.jpg",)),
    ]
    assert scripted.drawn == [0, 1]  # each reference is computed once, and none that nobody needs
    assert parity_status(found) == "passed"


def test_not_applicable_draws_another_image(monkeypatch: pytest.MonkeyPatch) -> None:
    scripted = Scripted(monkeypatch, adaptive=[SKIP, PASS, SKIP, PASS])
    found = scripted.run()
    assert scripted.seen[RUNTIME_CHECK] == [0, 1]
    assert scripted.seen[ORIGINAL_CHECK] == [0, 1, 2, 3]
    assert scripted.drawn == [0, 1, 2, 3]
    assert parity_status(found) == "passed"
    assert [item.status for item in found if item.check == ORIGINAL_CHECK] == [SKIP, PASS, SKIP, PASS]


def test_too_few_images_leave_it_incomplete(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Scripted(monkeypatch, adaptive=[SKIP, PASS, SKIP, SKIP]).run()
    assert parity_status(found) == "incomplete"
    assert parity_status(Scripted(monkeypatch).run(images=1)) == "incomplete"
    assert parity_status(Scripted(monkeypatch).run(images=0)) == "incomplete"
    assert parity_status([]) == "incomplete"


@pytest.mark.parametrize("check", ["runtime", "adaptive", "batch"])
def test_a_failure_stops_its_check(monkeypatch: pytest.MonkeyPatch, check: str) -> None:
    scripted = Scripted(monkeypatch, **{check: [PASS, FAIL, PASS, PASS]})
    found = scripted.run(batch=2)
    name = {"runtime": RUNTIME_CHECK, "adaptive": ORIGINAL_CHECK, "batch": BATCH_CHECK}[check]
    assert scripted.seen[name] == [0, 1]
    assert parity_status(found) == "failed"
    # The others still run: evidence tells which of them hold.
    assert {item.check for item in found} == {RUNTIME_CHECK, ORIGINAL_CHECK, BATCH_CHECK}


def test_batches_are_checked_one_by_one_where_there_are_any(monkeypatch: pytest.MonkeyPatch) -> None:
    single = Scripted(monkeypatch)
    single.run(batch=1)
    assert single.seen[BATCH_CHECK] == []
    batched = Scripted(monkeypatch)
    found = batched.run(batch=2)
    assert batched.seen[BATCH_CHECK] == [0, 1]
    assert parity_status(found) == "passed"
    assert parity_status(Scripted(monkeypatch, batch=[SKIP, SKIP, SKIP, PASS]).run(batch=2)) == "incomplete"


def test_every_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    scripted = Scripted(monkeypatch, runtime=[PASS, FAIL, PASS, PASS])
    found = scripted.run(every=True)
    assert scripted.seen[RUNTIME_CHECK] == scripted.seen[ORIGINAL_CHECK] == [0, 1, 2, 3]
    assert scripted.drawn == [0, 1, 2, 3]
    assert parity_status(found) == "failed"

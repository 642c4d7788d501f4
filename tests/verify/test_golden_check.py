"""golden.npz: what is written is what is checked, merges and further inputs included."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeexport.bundle import Bundle
from edgeexport.errors import BundleError
from edgeexport.inputs.batches import ImageBatch
from edgeexport.verify.compare import Comparison
from edgeexport.verify.golden import GOLDEN_CASES, write_golden
from edgeexport.verify.golden_check import golden_comparisons
from edgeexport.verify.tolerances import FP32

NEAR_TIE = FP32.near_tie
CONTEXT = np.arange(12, dtype=np.float32).reshape(2, 3, 2)


def reference(number: int = 0, *, context: bool = True, **changes: Any) -> SimpleNamespace:
    """Two images of six tokens; sources are 1, 3 and 5, of which one merges."""
    pixels = np.full((2, 4, 8), number, dtype=np.float32)
    score = np.full((2, 6), np.nan, dtype=np.float32)
    score[:, [1, 3, 5]] = 0.0, -0.5, -0.25
    gap = np.full((2, 6), np.nan, dtype=np.float32)
    gap[:, [1, 3, 5]] = 0.5, 0.5, 0.5
    fields: dict[str, Any] = {
        "batch": ImageBatch(("a.jpg", "b.jpg"), pixels, {"context": CONTEXT} if context else {}),
        "outputs": {
            "tokens": np.arange(8, dtype=np.float32).reshape(2, 4) + number,
            "merge_source_3": np.array([[1], [1]], dtype=np.int32),
            "merge_target_3": np.array([[0], [2]], dtype=np.int32),
            "merge_kept_3": np.array([[3, 5], [3, 5]], dtype=np.int32),
        },
        "decision_scores": {"merges_3": score},
        "decision_gaps": {"merges_3": gap},
        "near_tie": None,
    }
    return SimpleNamespace(**{**fields, **changes})


class Replay:
    """A runner that returns what it is told to, and remembers what it was fed."""

    name, version = "replay", "1"

    def __init__(self, *outputs: Mapping[str, NDArray]) -> None:
        self.outputs, self.fed = list(outputs), []

    def run(self, image: NDArray, extra: Mapping[str, NDArray] | None = None) -> dict[str, NDArray]:
        self.fed.append((image, extra))
        return dict(self.outputs[len(self.fed) - 1])


def checked(folder: Path, references: list[Any], *outputs: Mapping[str, NDArray]) -> tuple[list[Comparison], Replay]:
    write_golden(folder / "golden.npz", references, "seeded")
    runner = Replay(*outputs)
    return golden_comparisons(Bundle(folder, {}), runner), runner


def test_stored_names(tmp_path: Path) -> None:
    write_golden(tmp_path / "golden.npz", [reference(0), reference(1), reference(2)], "seeded with 0")
    with np.load(tmp_path / "golden.npz") as stored:
        assert str(stored["weights"]) == "seeded with 0"
        cases = {name.split("/")[0] for name in stored.files} - {"weights"}
        assert cases == {"case0", "case1"} and len(cases) == GOLDEN_CASES
        assert {name.removeprefix("case0/") for name in stored.files if name.startswith("case0/")} == {
            "names",
            "image",
            "input/context",
            "tokens",
            "merge_source_3",
            "merge_target_3",
            "merge_kept_3",
            "score/merges_3",
            "gap/merges_3",
        }
        np.testing.assert_array_equal(stored["case1/input/context"], CONTEXT)
        np.testing.assert_array_equal(stored["case1/gap/merges_3"], reference().decision_gaps["merges_3"])


def test_same_arrays_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.npz", "b.npz"):
        write_golden(tmp_path / name, [reference()], "seeded")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_the_same_outputs_pass_and_both_inputs_are_fed(tmp_path: Path) -> None:
    references = [reference(0), reference(1)]
    found, runner = checked(tmp_path, references, references[0].outputs, references[1].outputs)
    assert [item.status for item in found] == ["passed", "passed"]
    assert [item.name for item in found[0].outputs] == ["tokens"]  # token indices are no numbers to compare
    assert [(item.stage, item.image) for item in found[0].decisions] == [("merges_3", 0), ("merges_3", 1)]
    for number, (image, extra) in enumerate(runner.fed):
        np.testing.assert_array_equal(image, references[number].batch.pixels)
        assert extra is not None and list(extra) == ["context"]
        np.testing.assert_array_equal(extra["context"], CONTEXT)


def test_models_of_one_input_are_fed_one(tmp_path: Path) -> None:
    only = reference(context=False)
    _, runner = checked(tmp_path, [only], only.outputs)
    assert not runner.fed[0][1]


def merged_elsewhere() -> dict[str, NDArray]:
    """Image 0's source goes to another target, and its outputs follow."""
    outputs = {name: value.copy() for name, value in reference().outputs.items()}
    outputs["merge_target_3"][0] = 4
    outputs["tokens"][0] += 3
    return outputs


@pytest.mark.parametrize(("lead", "status"), [(0.4 * NEAR_TIE, "not-applicable"), (0.5, "failed")])
def test_another_target_is_excused_by_its_gap_alone(tmp_path: Path, lead: float, status: str) -> None:
    stored = reference()
    stored.decision_gaps["merges_3"][0, 1] = lead
    (found,), _ = checked(tmp_path, [stored], merged_elsewhere())
    assert found.status == status
    assert found.first_difference.startswith("merges_3: 1 tokens differ")
    assert [item.passed for item in found.outputs] == [True]  # image 1's, which went the same way


def test_a_near_tie_in_one_image_does_not_hide_the_others_outputs(tmp_path: Path) -> None:
    stored, outputs = reference(), merged_elsewhere()
    stored.decision_gaps["merges_3"][0, 1] = 0.0
    outputs["tokens"][1] += 3
    (found,), _ = checked(tmp_path, [stored], outputs)
    assert (found.status, found.reason) == ("failed", "outputs differ: tokens")


@pytest.mark.parametrize("returned", [["tokens"], ["tokens", "merge_source_3", "merge_kept_3"]])
def test_a_runner_without_inner_values_is_judged_by_its_outputs(tmp_path: Path, returned: list[str]) -> None:
    """An engine may return the graph's outputs alone; then decisions are neither judged nor compared as numbers."""
    outputs = {name: reference().outputs[name] for name in returned}
    (found,), _ = checked(tmp_path, [reference()], outputs)
    assert (found.status, found.decisions) == ("passed", ())
    assert [item.name for item in found.outputs] == ["tokens"]
    (found,), _ = checked(tmp_path, [reference()], {**outputs, "tokens": outputs["tokens"] + 1})
    assert found.status == "failed"


def test_selections_and_class_maps_as_before(tmp_path: Path) -> None:
    outputs = {
        "class_map": np.zeros((2, 2, 3), dtype=np.int32),
        "pruned_tokens_6": np.array([[0, 1], [0, 1]], dtype=np.int32),
    }
    near_tie = np.zeros((2, 2, 3), dtype=bool)
    near_tie[1, 0, 2] = True
    scores = {"pruned_tokens_6": np.array([[0.9, 0.8, 0.1], [0.9, 0.8, 0.8]], dtype=np.float32)}
    stored = reference(context=False, outputs=outputs, decision_scores=scores, decision_gaps={}, near_tie=near_tie)
    tied = {name: value.copy() for name, value in outputs.items()}
    tied["class_map"][1, 0, 2] = 7
    (found,), _ = checked(tmp_path, [stored], tied)
    assert found.status == "passed" and found.outputs[0].differing == 1
    tied["class_map"][0, 0, 2] = 7
    (found,), _ = checked(tmp_path, [stored], tied)
    assert found.status == "failed"
    other = {**outputs, "pruned_tokens_6": np.array([[0, 1], [0, 2]], dtype=np.int32)}
    (found,), _ = checked(tmp_path, [stored], other)
    assert found.status == "not-applicable"


@pytest.mark.parametrize("content", [None, b"", b"no archive", b"PK\x03\x04broken"])
def test_missing_or_damaged_file(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "golden.npz").write_bytes(content)
    with pytest.raises(BundleError, match="cannot be read") as caught:
        golden_comparisons(Bundle(tmp_path, {}), Replay())
    assert caught.value.exit_code == 9

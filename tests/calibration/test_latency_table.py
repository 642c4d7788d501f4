"""Latency tables: between two counts a line, outside an error, and a damaged file names its entry."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from observation_cases import CTS_DTOP, tiny

from edgeexport.calibration.latency_table import LatencyTable, model_signature, read_latency_table
from edgeexport.errors import UsageError

DOCUMENT: dict[str, Any] = {
    "schema": "edgeexport.latency_table/1",
    "provenance": "measured",
    "device": "a device",
    "block_ms": {"64": 1.5, "8": 0.25, "32": 0.75},
    "head_ms": {"16": 1, "64": 2},
    "policy_ms": None,
    "fixed_ms": 0.5,
}


def written(folder: Path, **changes: object) -> Path:
    path = folder / "table.json"
    path.write_text(json.dumps({key: value for key, value in {**DOCUMENT, **changes}.items() if value is not ...}))
    return path


def table(tmp_path: Path) -> LatencyTable:
    return read_latency_table(written(tmp_path))


def test_reads_what_a_table_says(tmp_path: Path) -> None:
    found = table(tmp_path)
    assert (found.provenance, found.device, found.policy_ms, found.fixed_ms) == ("measured", "a device", None, 0.5)
    assert found.block_ms == ((8, 0.25), (32, 0.75), (64, 1.5))
    assert found.head_ms == ((16, 1.0), (64, 2.0))
    assert found.model is None


def test_goes_to_json_and_back(tmp_path: Path) -> None:
    recipe = tiny(tmp_path, CTS_DTOP)
    changed = written(tmp_path, policy_ms=2.5, model=model_signature(recipe))
    found = read_latency_table(changed)
    path = tmp_path / "again.json"
    path.write_text(json.dumps(found.as_dict()))
    again = read_latency_table(path)
    assert again.as_dict() == found.as_dict() == json.loads(json.dumps(found.as_dict()))
    assert again.model == model_signature(recipe)
    assert again.policy() == 2.5


def test_measured_counts_are_exact_and_others_lie_between(tmp_path: Path) -> None:
    found = table(tmp_path)
    assert [found.block(tokens) for tokens in (8, 32, 64)] == [0.25, 0.75, 1.5]
    assert found.block(20) == 0.5
    assert found.block(48) == pytest.approx(1.125)
    assert found.head(40) == 1.5


@given(
    st.lists(st.integers(1, 2000), min_size=2, max_size=12, unique=True),
    st.floats(0, 3),
    st.floats(0, 0.1),
    st.data(),
)
def test_a_line_is_met_everywhere(counts: list[int], offset: float, slope: float, data: st.DataObject) -> None:
    points = tuple((count, offset + slope * count) for count in sorted(counts))
    found = LatencyTable("measured", "d", points, points, None, 0.0)
    tokens = data.draw(st.integers(min(counts), max(counts)))
    assert found.block(tokens) == pytest.approx(offset + slope * tokens, rel=1e-9, abs=1e-12)
    assert found.head(tokens) == found.block(tokens)


@pytest.mark.parametrize("tokens", [7, 65])
def test_outside_is_refused(tokens: int, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=rf"block_ms \| has 8 to 64 tokens, {tokens} are asked for \| .*extrapolated"):
        table(tmp_path).block(tokens)


def test_one_count_serves_that_count_alone() -> None:
    found = LatencyTable("predicted", "d", ((64, 2.0),), ((64, 1.0),), None, 0.0)
    assert found.block(64) == 2.0
    with pytest.raises(UsageError, match="64 to 64"):
        found.block(63)


def test_an_unknown_policy_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"policy_ms \| is null"):
        table(tmp_path).policy()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": "edgeexport.latency_table/2"}, " | schema 'edgeexport.latency_table/2', this edgeexport reads"),
        ({"schema": ...}, " | schema None"),
        ({"provenance": "guessed"}, ": provenance | invalid enum value 'guessed'"),
        ({"device": ""}, ": device | expected str of length >= 1"),
        ({"block_ms": {}}, ": block_ms | expected object of length >= 1"),
        ({"block_ms": [1, 2]}, ": block_ms | expected object, got array"),
        ({"block_ms": ...}, " | lacks block_ms"),
        ({"head_ms": {"-8": 1}}, ": head_ms | has characters"),
        ({"head_ms": {"0": 1}}, ": head_ms | has characters"),
        ({"head_ms": {"8": 1, "08": 2}}, ": head_ms | has 8 tokens twice"),
        ({"head_ms": {"8": "1"}}, ": head_ms.8 | expected float, got str"),
        ({"head_ms": {"8": -1}}, ": head_ms.8 | expected float >= 0.0"),
        ({"head_ms": {"8": True}}, ": head_ms.8 | expected float, got bool"),
        ({"fixed_ms": float("nan")}, " | cannot be read"),
        ({"fixed_ms": ...}, " | lacks fixed_ms"),
        ({"policy_ms": "2"}, ": policy_ms | expected float | null, got str"),
        ({"model": 3}, ": model | expected object | null, got int"),
    ],
)
def test_a_damaged_table_names_its_entry(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = written(tmp_path, **changes)
    with pytest.raises(UsageError) as caught:
        read_latency_table(path)
    assert str(caught.value).startswith(f"{path}{message}")
    assert "block-table" in str(caught.value)


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_latency_table(tmp_path / "none.json")
    path = tmp_path / "t.json"
    path.write_text("{")
    with pytest.raises(UsageError, match="cannot be read"):
        read_latency_table(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="cannot be read"):
        read_latency_table(path)
    path.write_text("[]")
    with pytest.raises(UsageError, match="schema None"):
        read_latency_table(path)

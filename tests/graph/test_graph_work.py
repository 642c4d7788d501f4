"""work.json: what it holds is what is read, and damage is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgeexport.cost.work import (
    WORK_FILE,
    GraphWork,
    NodeWork,
    part_order,
    part_title,
    read_work,
    work_bytes,
    work_from_document,
)
from edgeexport.errors import BundleError

_NODES = (
    NodeWork("a", "Cast", "embedding", inputs=("image",), outputs=("x",), reads={"uint8": 4}, writes={"float32": 16}),
    NodeWork("TokenUnmerge/rows", "GatherND", "prune_6", call="c", inputs=("x",), outputs=("y",), reads={"float32": 8}),
    NodeWork(
        "p",
        "MatMul",
        "block_7",
        inputs=("y",),
        outputs=("z",),
        kind="product",
        macs=64,
        dtype="float32",
        weights={"float32": 9},
    ),
)
_CALL = NodeWork("c", "edgeexport::TokenUnmerge", "prune_6", inputs=("x",), outputs=("y",), writes={"float32": 8})


def _read(content: object) -> GraphWork:
    return work_from_document(content)


def test_round_trip() -> None:
    work = GraphWork(_NODES, (_CALL,), frozenset({"c"}))
    assert _read(json.loads(work_bytes(work))) == work
    without = GraphWork(_NODES, (_CALL,))
    assert _read(json.loads(work_bytes(without))) == without


def test_plugins_replace_bodies() -> None:
    assert [node.name for node in GraphWork(_NODES, (_CALL,), frozenset({"c"})).with_plugins()] == ["a", "c", "p"]
    assert [node.name for node in GraphWork(_NODES, (_CALL,)).with_plugins()] == ["a", "TokenUnmerge/rows", "p"]


def test_sums() -> None:
    assert (_NODES[0].bytes, _NODES[0].written_bytes, _NODES[0].product_macs) == (20, 16, 0)
    assert (_NODES[2].bytes, _NODES[2].product_macs) == (9, 64)
    norm = NodeWork("n", "LayerNormalization", "block_1", kind="norm", macs=10)
    assert norm.product_macs == 0


def test_parts_in_the_order_of_the_model() -> None:
    parts = [
        "tail",
        "prune_6",
        "block_10",
        "policy",
        "other",
        "block_6",
        "merge_6",
        "auxiliary_head_6",
        "embedding",
        "head",
    ]
    assert sorted(parts, key=part_order) == [
        "policy",
        "embedding",
        "merge_6",
        "block_6",
        "auxiliary_head_6",
        "prune_6",
        "block_10",
        "head",
        "tail",
        "other",
    ]


@pytest.mark.parametrize(
    ("part", "title"),
    [
        ("block_3", "block 3"),
        ("auxiliary_head_6", "auxiliary head after block 6"),
        ("decode_head", "decode head"),
        ("something_new", "something_new"),
    ],
)
def test_titles(part: str, title: str) -> None:
    assert part_title(part) == title


def test_bundle_without_the_file(tmp_path: Path) -> None:
    assert read_work(tmp_path) is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("no json", "cannot be read"),
        ('{"schema": "edgeexport.work/2"}', "edgeexport.work/1"),
        ('{"schema": "edgeexport.work/1", "calls": []}', "lacks nodes"),
        (
            '{"schema": "edgeexport.work/1", "calls": [], "nodes": [{"op": "Add"}]}',
            r"work.json: nodes\[0\] . lacks name",
        ),
        (
            '{"schema": "edgeexport.work/1", "calls": [], "nodes": [{"name": "a", "op": "b", "part": "c", "reads": 3}]}',
            r"work.json: nodes\[0\].reads . expected object, got int",
        ),
    ],
)
def test_damage_is_named(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / WORK_FILE).write_text(content)
    with pytest.raises(BundleError, match=message) as caught:
        read_work(tmp_path)
    assert caught.value.exit_code == 9

"""Results that outlived the engine they describe."""

from __future__ import annotations

from typing import Any

import pytest

from edgeexport.comparison.outdated import engine_left_out, outdated

NOW = {"engine.plan": "ab" * 32, "timing.cache": "cd" * 32}
MANIFEST = "12" * 32


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"engine": "engine.plan", "engine_sha256": "ab" * 32, "manifest_sha256": MANIFEST}, ""),
        ({"engine": "engine.plan", "engine_sha256": "99" * 32, "manifest_sha256": MANIFEST},
         "of an earlier engine (engine.plan 999999999999..., now abababababab...)"),
        ({"engine_sha256": "ab" * 32, "manifest_sha256": "34" * 32},
         "of another build of this bundle (manifest 343434343434..., now 121212121212...)"),
        ({"engine_sha256": None, "bundle": {"manifest_sha256": "34" * 32}},
         "of another build of this bundle (manifest 343434343434..., now 121212121212...)"),
        ({"engine_sha256": "cd" * 32}, "of an earlier engine (engine.plan cdcdcdcdcdcd..., now abababababab...)"),
        ({"engine": "model.onnx", "engine_sha256": None, "bundle": {"manifest_sha256": MANIFEST}}, ""),
        ({"engine": "engine.plan"}, ""),
        ({}, ""),
    ],
)  # fmt: skip
def test_outdated(document: dict[str, Any], expected: str) -> None:
    assert outdated(document, NOW, MANIFEST) == expected


def test_what_is_not_known_is_not_doubted() -> None:
    document = {"engine_sha256": "99" * 32, "manifest_sha256": "34" * 32}
    assert outdated(document, {}, "") == ""
    assert outdated(document, {}, MANIFEST).startswith("of another build")


def test_an_engine_that_was_left_out_is_named() -> None:
    assert engine_left_out({"engine": "model.onnx"}, NOW) == "of model.onnx in ONNX Runtime, not of engine.plan"
    assert engine_left_out({"engine": "engine.plan"}, NOW) == engine_left_out({"engine": "model.onnx"}, {}) == ""
    assert engine_left_out({}, NOW) == ""

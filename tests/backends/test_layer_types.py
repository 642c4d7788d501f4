"""FP16 asked for and FP32 built is told, from the inspector's JSON and from counts."""

from __future__ import annotations

import json

import pytest

from edgeexport.backends.layer_types import layers_by_type, precision_problem


def _described(*formats: str, key: str = "Format/Datatype") -> str:
    return json.dumps(
        {"Layers": [{"Name": "l", "Outputs": [{"Name": "t", key: text}]} for text in formats] + [{"Outputs": []}]}
    )


def test_layers_are_counted_by_what_they_give_out() -> None:
    half, single = "Row major linear FP16 format", "Row major linear FP32"
    assert layers_by_type(_described(half, single, half, "Int32")) == {"float16": 2, "float32": 1, "int32": 1}
    assert layers_by_type(_described("Half", "Float", key="Datatype")) == {"float16": 1, "float32": 1}


@pytest.mark.parametrize("text", ["", "{}", '{"Layers": ["name"]}', '{"Layers": []}'])
def test_nothing_is_said_where_nothing_is_told(text: str) -> None:
    assert layers_by_type(text) is None
    assert precision_problem("fp16", None) == ""


def test_fp16_asked_for_and_fp32_built() -> None:
    assert (
        precision_problem("fp16", {"float32": 80, "int32": 3})
        == "FP16 was asked for and none was built: 80 float32, 3 int32"
    )
    assert precision_problem("fp16", {"float16": 1, "float32": 80}) == ""
    assert precision_problem("fp32", {"float32": 80}) == ""

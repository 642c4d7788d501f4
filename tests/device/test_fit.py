"""Which machine a target stands for, by the device tree."""

from __future__ import annotations

from pathlib import Path

import pytest
from machine_cases import AGX_ORIN

from edgeexport.device.fit import why_not_this_machine
from edgeexport.device.targets import TARGETS


@pytest.fixture
def agx_orin(tmp_path: Path) -> Path:
    for name, content in AGX_ORIN.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    return tmp_path


def test_a_jetson_is_its_own_target_alone(agx_orin: Path) -> None:
    assert why_not_this_machine(TARGETS["orin"], agx_orin) == ""
    for name in ("orin-nx", "orin-nano", "thor"):
        reason = why_not_this_machine(TARGETS[name], agx_orin)
        assert reason == f"this machine is NVIDIA Jetson AGX Orin Developer Kit, expected a {TARGETS[name].title}"


def test_other_machines_are_no_jetson(tmp_path: Path) -> None:
    assert (
        why_not_this_machine(TARGETS["orin"], tmp_path) == "this machine is no Jetson, expected a Jetson AGX Orin 64GB"
    )
    for name in ("gpu", "cpu"):
        assert why_not_this_machine(TARGETS[name], tmp_path) == ""

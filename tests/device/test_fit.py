"""Which machine a target stands for, by the device tree."""

from __future__ import annotations

from pathlib import Path

import pytest
from machine_cases import AGX_ORIN
from sysfs_trees import put, write_tree

from edgeexport.device.fit import module_here, why_not_this_machine
from edgeexport.device.machine import find_jetson
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


# --- In a container, where docker hides the device tree ---


@pytest.mark.parametrize(("tree", "target"), [("agx_orin_container", "orin"), ("orin_nx_container", "orin-nx")])
def test_model_that_docker_hides_is_found_elsewhere(tmp_path: Path, tree: str, target: str) -> None:
    write_tree(tmp_path, tree)
    assert why_not_this_machine(TARGETS[target], tmp_path) == ""
    fitting = {name for name in TARGETS if not why_not_this_machine(TARGETS[name], tmp_path)}
    assert fitting - {"orin-32gb"} == {target, "gpu", "cpu"} and ("orin-32gb" in fitting) == (target == "orin")


@pytest.mark.parametrize(
    "file",
    [
        "proc/device-tree/model",
        "sys/firmware/devicetree/base/model",
        "sys/devices/virtual/dmi/id/product_name",
        "sys/devices/soc0/machine",
    ],
)
def test_each_place_of_the_model(tmp_path: Path, file: str) -> None:
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text("NVIDIA Jetson AGX Orin Developer Kit\0\n")
    jetson = find_jetson(tmp_path)
    assert jetson is not None and jetson.model == "NVIDIA Jetson AGX Orin Developer Kit"
    assert why_not_this_machine(TARGETS["orin"], tmp_path) == ""


def test_model_that_is_nowhere(tmp_path: Path) -> None:
    put(tmp_path, "etc/nv_tegra_release", "# R36 (release), REVISION: 4.3, GCID: 1")
    expected = "expected a Jetson AGX Orin 64GB"
    assert why_not_this_machine(TARGETS["orin"], tmp_path) == (
        f"this machine is a Jetson that does not tell its model, {expected}"
    )
    put(tmp_path, ".dockerenv", "")
    hint = "(docker hides it: give --security-opt systempaths=unconfined)"
    assert why_not_this_machine(TARGETS["orin"], tmp_path) == (
        f"this machine is a Jetson that does not tell its model {hint}, {expected}"
    )
    (tmp_path / "etc/nv_tegra_release").unlink()
    found = why_not_this_machine(TARGETS["orin"], tmp_path, "aarch64")
    assert found == f"this machine is no Jetson {hint}, {expected}"
    # A PC in docker is no Jetson, and nothing is hidden.
    assert why_not_this_machine(TARGETS["orin"], tmp_path, "x86_64") == f"this machine is no Jetson, {expected}"


def test_name_of_a_pc_is_no_jetson(tmp_path: Path) -> None:
    put(tmp_path, "sys/devices/virtual/dmi/id/product_name", "Precision 5750")
    assert find_jetson(tmp_path) is None
    put(tmp_path, "etc/nv_tegra_release", "# R36 (release), REVISION: 4.3, GCID: 1")  # and no model of one either
    assert why_not_this_machine(TARGETS["orin"], tmp_path).startswith("this machine is a Jetson that does not tell")


def test_board_that_does_not_call_itself_a_jetson(tmp_path: Path) -> None:
    """Another maker's carrier board with an Orin module; what it is called decides, as on a bare system."""
    put(tmp_path, "etc/nv_tegra_release", "# R36 (release), REVISION: 4.3, GCID: 1")
    put(tmp_path, "proc/device-tree/model", "Maker AGX Orin 500")
    assert why_not_this_machine(TARGETS["orin"], tmp_path) == ""
    assert why_not_this_machine(TARGETS["thor"], tmp_path).startswith("this machine is Maker AGX Orin 500, expected")


# --- Two modules that call themselves alike ---


@pytest.mark.parametrize(("kilobytes", "target"), [(64_335_872, "orin"), (32_130_048, "orin-32gb"), (None, "orin")])
def test_modules_of_one_name_are_told_apart_by_memory(agx_orin: Path, kilobytes: int | None, target: str) -> None:
    if kilobytes is not None:
        (agx_orin / "proc").mkdir(exist_ok=True)
        (agx_orin / "proc" / "meminfo").write_text(f"MemTotal:       {kilobytes} kB\nMemFree:  1 kB\n")
    for name in ("orin", "orin-32gb"):
        assert why_not_this_machine(TARGETS[name], agx_orin) == ""  # an engine of one runs on the other
        assert module_here(TARGETS[name], agx_orin).name == target

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from machine_cases import AGX_ORIN, PROVIDERS, fake_probe

from edgeexport.device.machine import Gpu, Probe, Tool, examine_machine, version_tuple

SMI = "nvidia-smi"


def test_bare_machine_has_nothing(tmp_path: Path) -> None:
    machine = examine_machine(fake_probe(tmp_path))
    assert all(package.version is None for package in machine.packages)
    assert all(tool.path is None and tool.version is None for tool in machine.tools)
    assert machine.gpus == () and machine.gpu_note == "" and machine.jetson is None
    assert machine.onnxruntime_providers is None and machine.tensorrt_rtx_version is None


@pytest.mark.parametrize(
    ("program", "printed", "name", "version"),
    [
        ("g++", "g++ (Debian 12.2.0-14+deb12u1) 12.2.0\nCopyright (C) 2022", "C++ compiler", "12.2.0"),
        ("c++", "c++ (Ubuntu 11.4.0-1ubuntu1~22.04) 11.4.0", "C++ compiler", "11.4.0"),
        ("clang++", "Ubuntu clang version 14.0.0-1ubuntu1\nTarget: x86_64", "C++ compiler", "14.0.0"),
        ("make", "GNU Make 4.3\nBuilt for x86_64", "make", "4.3"),
        ("cmake", "cmake version 3.25.1\n\nCMake suite", "cmake", "3.25.1"),
        ("nvcc", "nvcc: NVIDIA (R) Cuda\nCuda compilation tools, release 13.0, V13.0.48", "nvcc", "13.0"),
        ("make", "something else", "make", None),
    ],
)
def test_tools(tmp_path: Path, program: str, printed: str, name: str, version: str | None) -> None:
    machine = examine_machine(fake_probe(tmp_path, programs=[program], answers={f"{program} --version": printed}))
    assert Tool(name, f"/usr/bin/{program}", version) in machine.tools


def test_nvcc_beside_the_search_path(tmp_path: Path) -> None:
    probe = fake_probe(
        tmp_path, files={"usr/local/cuda/bin/nvcc": ""}, answers={"cuda/bin/nvcc --version": "release 12.6, V12.6.68"}
    )
    assert Tool("nvcc", str(tmp_path / "usr/local/cuda/bin/nvcc"), "12.6") in examine_machine(probe).tools


def test_gpus_from_nvidia_smi(tmp_path: Path) -> None:
    printed = "NVIDIA A10, 535.104.05, 23028, 8.6\nNVIDIA H100, 535.104.05, 81559, 9.0\n"
    machine = examine_machine(fake_probe(tmp_path, programs=[SMI], answers={"compute_cap": printed}))
    assert machine.gpus == (
        Gpu("NVIDIA A10", "535.104.05", 23028, "8.6"),
        Gpu("NVIDIA H100", "535.104.05", 81559, "9.0"),
    )


def test_old_driver_does_not_know_compute_capability(tmp_path: Path) -> None:
    answers = {"memory.total --format": "Tesla T4, 450.80.02, 15109\n"}
    machine = examine_machine(fake_probe(tmp_path, programs=[SMI], answers=answers))
    assert machine.gpus == (Gpu("Tesla T4", "450.80.02", 15109, None),)


def test_shared_memory_is_not_a_number(tmp_path: Path) -> None:
    answers = {"compute_cap": "Orin (nvgpu), N/A, [N/A], [N/A]\n"}
    machine = examine_machine(fake_probe(tmp_path, programs=[SMI], answers=answers))
    assert machine.gpus == (Gpu("Orin (nvgpu)", None, None, None),)


def test_nvidia_smi_without_a_driver(tmp_path: Path) -> None:
    machine = examine_machine(fake_probe(tmp_path, programs=[SMI]))
    assert machine.gpus == () and machine.gpu_note == "/usr/bin/nvidia-smi is there but reports no GPU"


def test_gpus_from_the_drivers_files(tmp_path: Path) -> None:
    files = {
        "proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19\n",
        "proc/driver/nvidia/gpus/0000:00:1e.0/information": "Model: \t\t NVIDIA A10G\nIRQ: 10\n",
    }
    assert examine_machine(fake_probe(tmp_path, files=files)).gpus == (Gpu("NVIDIA A10G", "535.104.05", None, None),)
    files["proc/driver/nvidia/version"] = (
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release\n"
    )
    assert examine_machine(fake_probe(tmp_path, files=files)).gpus[0].driver == "570.86.15"


@pytest.mark.parametrize(
    ("release", "l4t", "jetpack"),
    [
        ("# R35 (release), REVISION: 5.0, GCID: 1", "35.5.0", "5.x"),
        ("# R36 (release), REVISION: 3.0, GCID: 1", "36.3.0", "6.0"),
        ("# R36 (release), REVISION: 4.3, GCID: 1", "36.4.3", "6.1 - 6.2"),
        ("# R36 (release), REVISION: 5, GCID: 1", "36.5", "6.1 - 6.2"),
        ("# R39 (release), REVISION: 2.0, GCID: 1", "39.2.0", "7.2"),
        ("# R38 (release), REVISION: 1.0, GCID: 1", "38.1.0", None),
        ("# R36 (release), REVISION: 2.0, GCID: 1", "36.2.0", None),
        ("", None, None),
    ],
)
def test_jetson_release(tmp_path: Path, release: str, l4t: str | None, jetpack: str | None) -> None:
    jetson = examine_machine(fake_probe(tmp_path, files={**AGX_ORIN, "etc/nv_tegra_release": release})).jetson
    assert jetson is not None and jetson.model == "NVIDIA Jetson AGX Orin Developer Kit"
    assert (jetson.l4t, jetson.jetpack) == (l4t, jetpack)


def test_another_boards_device_tree_is_no_jetson(tmp_path: Path) -> None:
    files = {"proc/device-tree/model": "Raspberry Pi 5 Model B\0"}
    assert examine_machine(fake_probe(tmp_path, files=files)).jetson is None


def test_libraries_that_do_not_load_are_not_claimed(tmp_path: Path) -> None:
    packages = {"onnxruntime-gpu": "1.31.1", "tensorrt-rtx-cu13-bindings": "1.7.1"}
    broken = examine_machine(fake_probe(tmp_path, packages=packages))
    assert broken.onnxruntime_providers is None and broken.tensorrt_rtx_version is None
    answers = {"import json, onnxruntime": f"a warning\n{PROVIDERS}\n", "import tensorrt_rtx": "1.7.1.116\n"}
    sound = examine_machine(fake_probe(tmp_path, packages=packages, answers=answers))
    assert sound.onnxruntime_providers == ("CPUExecutionProvider",) and sound.tensorrt_rtx_version == "1.7.1.116"


@pytest.mark.parametrize(
    ("version", "numbers"), [("2.15.0+cpu", (2, 15, 0)), ("1.0rc1", (1, 0)), ("3.12.0a1", (3, 12, 0)), ("dev", ())]
)
def test_version_tuple(version: str, numbers: tuple[int, ...]) -> None:
    assert version_tuple(version) == numbers


def test_commands_that_fail_hang_or_are_absent_give_nothing() -> None:
    run = Probe().run
    assert run([sys.executable, "-c", "print('here')"], 30.0) == "here\n"
    assert run([sys.executable, "-c", "print('here'); raise SystemExit(3)"], 30.0) is None
    assert run([sys.executable, "-c", "import time; time.sleep(30)"], 0.2) is None
    assert run(["/nonexistent/program"], 1.0) is None


def test_this_machine_is_examined() -> None:
    machine = examine_machine(Probe())
    assert machine.python == sys.version.split()[0]
    assert machine.package_version("numpy") == __import__("numpy").__version__

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from machine_cases import AGX_ORIN, EXPORT_PACKAGES, PROVIDERS, fake_probe

from edgeexport.commands.doctor import EXPORT_REQUIREMENTS, Capability, Doctor, examine, rows_from_doctor
from edgeexport.device.machine import Probe
from edgeexport.device.targets import TARGETS
from edgeexport.errors import UsageError

LOADS = {"import json, onnxruntime": PROVIDERS, "import tensorrt_rtx": "1.7.1.116\n"}


def _capabilities(doctor: Doctor, target: str) -> dict[str, Capability]:
    (report,) = [report for report in doctor.targets if report.target == target]
    return {item.name: item for item in report.capabilities}


def _of(target: str, probe: Probe) -> dict[str, Capability]:
    return _capabilities(examine(target, probe), target)


def test_bare_machine_claims_nothing(tmp_path: Path) -> None:
    doctor = examine(probe=fake_probe(tmp_path))
    assert [report.target for report in doctor.targets] == list(TARGETS)
    assert [report.target for report in doctor.targets if report.is_this_machine] == ["cpu"]
    for report in doctor.targets:
        for item in report.capabilities:
            assert item.status != "ready"
            assert item.remedy or item.status != "missing"


def test_complete_export_machine(tmp_path: Path) -> None:
    found = _of("orin", fake_probe(tmp_path, packages=EXPORT_PACKAGES, answers=LOADS))
    statuses = {name: item.status for name, item in found.items()}
    assert statuses == {
        "build and export": "ready",
        "ONNX Runtime": "ready",
        "TensorRT-RTX check": "ready",
        "plugin library": "missing",
        "engine build": "unavailable",
        "run on the device": "unavailable",
    }
    assert "torch 2.15.0" in found["build and export"].detail


def test_cpu_needs_no_tensorrt(tmp_path: Path) -> None:
    found = _of("cpu", fake_probe(tmp_path, packages={"onnxruntime": "1.31.1"}, answers=LOADS))
    assert found["TensorRT-RTX check"].status == "not-needed"
    for name in ("ONNX Runtime", "engine build", "run on the device"):
        assert (found[name].status, found[name].detail) == ("ready", "onnxruntime 1.31.1 loads")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"torch": None}, "torch is not installed"),
        ({"torch": "2.12.1"}, "torch 2.12.1 is older than 2.13"),
        (
            {"onedl-mmsegmentation": None, "timm": "1.0.9"},
            "timm 1.0.9 is older than 1.0.12; onedl-mmsegmentation is not",
        ),
    ],
)
def test_missing_or_old_package(tmp_path: Path, changes: dict[str, str | None], message: str) -> None:
    packages = {name: version for name, version in {**EXPORT_PACKAGES, **changes}.items() if version}
    found = _of("orin", fake_probe(tmp_path, packages=packages, answers=LOADS))["build and export"]
    assert found.status == "missing" and message in found.detail
    assert found.remedy == "pip install 'edgeexport[export]'"


def test_a_torch_that_is_installed_but_does_not_load(tmp_path: Path) -> None:
    answers = {**LOADS, "not_loading": 'a warning\n{"torch": "libcudart.so.12: cannot open", "onnx": "no"}\n'}
    doctor = examine("orin", fake_probe(tmp_path, packages=EXPORT_PACKAGES, answers=answers))
    found = _capabilities(doctor, "orin")["build and export"]
    assert found.status == "missing"
    assert found.detail.startswith(
        "torch 2.15.0+cpu is installed but does not load: libcudart.so.12: cannot open; onnx "
    )
    assert "install the torch and onnx made for this machine" in found.remedy
    packages = dict(rows_from_doctor(doctor)[1][1])
    assert packages["torch"] == "2.15.0+cpu, but does not load: libcudart.so.12: cannot open"
    assert packages["timm"] == "1.0.31"


def test_a_torch_whose_import_ends_the_process(tmp_path: Path) -> None:
    packages = {"torch": "2.8", "onnx": "1.20"}
    probe = fake_probe(tmp_path, packages=packages)
    died = replace(probe, run=lambda command, limit: None if "torch" in command else probe.run(command, limit))
    assert examine("cpu", died).machine.not_loading == {"torch": "its import ends the process, or takes over a minute"}


def test_old_python_cannot_export(tmp_path: Path) -> None:
    probe = fake_probe(tmp_path, packages=EXPORT_PACKAGES, answers=LOADS, python="3.10.12")
    found = _of("orin", probe)["build and export"]
    assert (found.status, found.detail) == ("missing", "Python 3.10.12 is older than 3.11")
    assert "Python 3.11 or newer" in found.remedy


def test_onnxruntime_that_does_not_load(tmp_path: Path) -> None:
    found = _of("cpu", fake_probe(tmp_path, packages={"onnxruntime": "1.31.1"}))
    for name in ("ONNX Runtime", "engine build", "run on the device"):
        assert (found[name].status, found[name].detail) == (
            "missing",
            "onnxruntime 1.31.1 is installed but does not load",
        )
    only_gpu = {"import json, onnxruntime": '["CUDAExecutionProvider"]'}
    found = _of("cpu", fake_probe(tmp_path, packages={"onnxruntime-gpu": "1.31.1"}, answers=only_gpu))
    assert "has no CPUExecutionProvider (it has CUDAExecutionProvider)" in found["ONNX Runtime"].detail


def test_tensorrt_rtx_absent_broken_or_elsewhere(tmp_path: Path) -> None:
    only_bindings = {"tensorrt-rtx-cu13-bindings": "1.7.1"}
    found = _of("thor", fake_probe(tmp_path, packages=only_bindings))["TensorRT-RTX check"]
    assert (found.status, found.detail) == ("missing", "not installed: tensorrt-rtx-cu13-libs")
    found = _of("thor", fake_probe(tmp_path, packages=EXPORT_PACKAGES))["TensorRT-RTX check"]
    assert (found.status, found.detail) == ("missing", "the packages are installed but do not load")
    found = _of("thor", fake_probe(tmp_path, architecture="aarch64"))["TensorRT-RTX check"]
    assert found.status == "unavailable" and "Linux on aarch64" in found.detail


def test_plugin_library_names_what_is_found_and_what_is_missing(tmp_path: Path) -> None:
    home = tmp_path / "usr/local/cuda"
    found = _of("orin", fake_probe(tmp_path))["plugin library"]
    assert found.status == "missing" and found.detail.startswith("CUDA toolkit: found no nvcc")
    assert "TensorRT headers: found no NvInfer.h" in found.detail and "CUDA_HOME" in found.remedy
    answers = {"g++ --version": "g++ 12.2.0", "--list-gpu-code": "sm_87", "nvcc --version": "release 13.0, V13.0.88"}
    files = {"usr/local/cuda/bin/nvcc": ""}
    found = _of("orin", fake_probe(tmp_path, programs=["g++"], answers=answers, files=files))["plugin library"]
    assert found.detail.startswith("CMake: found no cmake") and "pip install cmake ninja" in found.remedy
    programs, answers["cmake --version"] = ["g++", "cmake", "ninja"], "cmake version 3.25.1"
    found = _of("orin", fake_probe(tmp_path, programs=programs, answers=answers, files=files))["plugin library"]
    assert found.status == "missing" and f"nvcc 13.0 ({home}/bin/nvcc)" in found.detail
    assert found.remedy.startswith("`edgeexport plugin build` downloads them")
    version = "".join(
        f"#define NV_TENSORRT_{name} {number}\n" for name, number in (("MAJOR", 10), ("MINOR", 3), ("PATCH", 0))
    )
    system = "usr/include/aarch64-linux-gnu"
    files = {f"{system}/NvInfer.h": "", f"{system}/NvInferVersion.h": version}
    found = _of("orin", fake_probe(tmp_path, programs=programs, answers=answers, files=files))["plugin library"]
    assert (found.status, found.remedy) == ("ready", "") and "CMake 3.25.1 for Ninja (/usr/bin/cmake)" in found.detail
    assert found.detail.endswith(f"TensorRT 10.3.0 headers ({tmp_path / system})")
    assert _of("cpu", fake_probe(tmp_path))["plugin library"].status == "not-needed"


def test_jetson_knows_itself(tmp_path: Path) -> None:
    probe = fake_probe(tmp_path, files=AGX_ORIN, architecture="aarch64", python="3.10.12")
    doctor = examine(probe=probe)
    assert [report.target for report in doctor.targets if report.is_this_machine] == ["orin", "cpu"]
    found = _capabilities(doctor, "orin")["run on the device"]
    assert found.status == "missing"
    model = "NVIDIA Jetson AGX Orin Developer Kit, L4T 36.4.3"
    assert found.detail == f"this machine is one ({model}); no tensorrt for Python was found"
    assert "--system-site-packages" in found.remedy and "not one from pip" in found.remedy
    elsewhere = _capabilities(doctor, "orin-nx")
    assert elsewhere["run on the device"].status == elsewhere["engine build"].status == "unavailable"
    assert f"this machine is none ({model})" in elsewhere["run on the device"].detail
    assert elsewhere["engine build"].remedy == "there: edgeexport build BUNDLE --target orin-nx"


@pytest.mark.parametrize(
    ("version", "status", "detail"),
    [
        ("10.3.0", "ready", "tensorrt 10.3.0 is installed"),
        ("11.4.1", "ready", "tensorrt 11.4.1 is installed"),
        ("8.6.2", "ready", "tensorrt 8.6.2 is installed, for FP32 bundles built with --no-plugins alone"),
        ("8.5.2", "missing", "8.x for a bundle without plugins"),
        (
            "10.0.1",
            "missing",
            "tensorrt 10.0.1 is too old; expected 10.3 to 11.x, or 8.6 to 8.x for a bundle without plugins",
        ),
        ("12.0.0", "missing", "tensorrt 12.0.0 is newer than this edgeexport knows; expected 10.3 to 11.x"),
    ],
)
def test_tensorrt_of_a_jetson(tmp_path: Path, version: str, status: str, detail: str) -> None:
    probe = fake_probe(tmp_path, files=AGX_ORIN, architecture="aarch64", packages={"tensorrt": version})
    found = _of("orin", probe)
    for name in ("engine build", "run on the device"):
        assert found[name].status == status and found[name].detail.endswith(detail)
        assert found[name].remedy == ("" if status == "ready" else "flash a JetPack from 6.1 to 7.2")


def test_gpu_of_a_pc(tmp_path: Path) -> None:
    gpu = {"compute_cap": "NVIDIA A10, 535.1, 23028, 8.6"}
    doctor = examine(probe=fake_probe(tmp_path, programs=["nvidia-smi"], answers=gpu))
    assert [report.target for report in doctor.targets if report.is_this_machine] == ["gpu", "cpu"]
    found = _capabilities(doctor, "gpu")["run on the device"]
    assert found.detail == (
        "this machine is one (NVIDIA A10); no tensorrt for Python was found, and no ONNX Runtime with CUDA"
    )
    assert found.status == "missing" and found.remedy == "pip install 'edgeexport[gpu]'"
    cuda = {**gpu, "import json, onnxruntime": '["CUDAExecutionProvider", "CPUExecutionProvider"]'}
    packages = {"onnxruntime-gpu": "1.31.1"}
    found = _of("gpu", fake_probe(tmp_path, programs=["nvidia-smi"], answers=cuda, packages=packages))["engine build"]
    assert (found.status, found.remedy) == ("ready", "")
    assert found.detail.endswith("onnxruntime 1.31.1 has CUDAExecutionProvider")


def test_unknown_target(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'orin'") as caught:
        examine("orinn", fake_probe(tmp_path))
    assert caught.value.exit_code == 2


def test_json_and_rows(tmp_path: Path) -> None:
    probe = fake_probe(
        tmp_path,
        packages=EXPORT_PACKAGES,
        programs=["nvidia-smi", "g++"],
        answers={**LOADS, "compute_cap": "NVIDIA A10, 535.1, 23028, 8.6", "g++ --version": "g++ 12.2.0"},
    )
    doctor = examine("gpu", probe)
    document = json.loads(json.dumps(doctor.as_dict()))
    assert document["machine"]["gpus"][0]["memory_mib"] == 23028
    assert [item["target"] for item in document["targets"]] == ["gpu"]
    groups = {title: dict(rows) for title, rows in rows_from_doctor(doctor)}
    assert groups["This machine"]["GPU"] == "NVIDIA A10, compute capability 8.6, 23028 MiB, driver 535.1"
    assert groups["This machine"]["C++ compiler"] == "12.2.0 (/usr/bin/g++)"
    assert groups["This machine"]["cmake"] == "not found"
    assert groups["Python packages"]["tensorrt"] == "not installed"
    target = groups["Target gpu: NVIDIA GPU of a PC or server"]
    assert target["engine build"].startswith("missing: no tensorrt for Python was found")
    assert target["engine build"].endswith(" | pip install 'edgeexport[gpu]'")
    jetson = rows_from_doctor(examine("orin", fake_probe(tmp_path, files=AGX_ORIN)))
    expected = "NVIDIA Jetson AGX Orin Developer Kit, L4T 36.4.3, JetPack 6.1 - 6.2"
    assert dict(jetson[0][1])["Jetson"] == expected and dict(jetson[0][1])["GPU"] == "no NVIDIA GPU found"


@pytest.mark.skipif(sys.version_info < (3, 11), reason="tomllib comes with Python 3.11")
def test_requirements_are_those_of_the_package() -> None:
    import tomllib

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    wheels = [entry.split(";")[0].strip() for entry in project["optional-dependencies"]["export"]]
    stated = dict((*entry.split(">="), "0")[:2] for entry in wheels if not entry.startswith("tensorrt-rtx"))
    assert stated == dict(EXPORT_REQUIREMENTS)

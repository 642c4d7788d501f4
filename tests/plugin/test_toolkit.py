"""Finding nvcc: its places in order, incomplete toolkits, architectures of targets."""

from __future__ import annotations

from pathlib import Path

import pytest
from plugin_cases import GPU_CODES, GXX, fake_search, write_toolkit

from edgeexport.device.targets import TARGETS
from edgeexport.errors import BuildError, UsageError
from edgeexport.plugin.toolkit import architectures_of_target, find_compiler, find_toolkit

GPP = {"g++": "/usr/bin/g++"}
ANSWER = {"g++ --version": GXX}


def test_toolkit_on_path_describes_itself(tmp_path: Path) -> None:
    home = tmp_path / "somewhere"
    answers = {**ANSWER, **write_toolkit(home)}
    search = fake_search(tmp_path, answers, programs={**GPP, "nvcc": str(home / "bin/nvcc")})
    found = find_toolkit(search)
    assert (found.version, found.release) == ("13.0", "13.0.88")
    assert found.architectures == (75, 86, 87, 110)
    assert found.compiler.version == "g++ (Debian 12.2.0) 12.2.0"


@pytest.mark.parametrize("place", ["CUDA_HOME", "CUDA_PATH", "usr/local/cuda", "wheels"])
def test_every_place_is_looked_at(tmp_path: Path, place: str) -> None:
    site = tmp_path / "site-packages"
    home = {"wheels": site / "nvidia/cu13", "usr/local/cuda": tmp_path / place}.get(place, tmp_path / "opt")
    environ = {place: str(home)} if place.startswith("CUDA") else {}
    answers = {**ANSWER, **write_toolkit(home)}
    found = find_toolkit(fake_search(tmp_path, answers, programs=GPP, environ=environ, site_folders=[site]))
    assert found.nvcc == home / "bin/nvcc"


def test_path_comes_first_and_what_does_not_run_is_passed_over(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "usr/local/cuda"
    answers = {**ANSWER, **write_toolkit(first), **write_toolkit(second)}
    programs = {**GPP, "nvcc": str(first / "bin/nvcc")}
    assert find_toolkit(fake_search(tmp_path, answers, programs=programs)).nvcc == first / "bin/nvcc"
    del answers[f"{first}/bin/nvcc --version"]
    assert find_toolkit(fake_search(tmp_path, answers, programs=programs)).nvcc == second / "bin/nvcc"


def test_wheels_that_are_missing_are_named(tmp_path: Path) -> None:
    """They come one by one; a toolkit that was installed in another way is CMake's to judge."""
    site = tmp_path / "site-packages"
    older, newer, system = site / "nvidia/cu12", site / "nvidia/cu13", tmp_path / "usr/local/cuda"
    answers = {**ANSWER, **write_toolkit(older), **write_toolkit(newer)}
    search = fake_search(tmp_path, answers, programs=GPP, site_folders=[site])
    assert find_toolkit(search).nvcc == newer / "bin/nvcc"
    (newer / "nvvm/bin/cicc").unlink()
    assert find_toolkit(search).nvcc == older / "bin/nvcc"
    (older / "include/crt/host_defines.h").unlink()
    problem = r"cu13/bin/nvcc lacks nvvm/bin/cicc \(nvidia-nvvm\); .*cu12/bin/nvcc lacks include/crt/host_defines.h"
    with pytest.raises(BuildError, match=problem) as caught:
        find_toolkit(search)
    assert caught.value.exit_code == 5 and "nvidia-cuda-crt" in caught.value.remedy
    answers.update(write_toolkit(system))
    (system / "nvvm/bin/cicc").unlink()
    assert find_toolkit(fake_search(tmp_path, answers, programs=GPP, site_folders=[site])).nvcc == system / "bin/nvcc"


def test_no_toolkit_names_the_places_and_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"found no nvcc on PATH, at CUDA_HOME .* wheels") as caught:
        find_toolkit(fake_search(tmp_path))
    assert "pip install nvidia-cuda-nvcc" in caught.value.remedy


def test_nvcc_that_does_not_run(tmp_path: Path) -> None:
    write_toolkit(tmp_path / "usr/local/cuda")
    with pytest.raises(BuildError, match="nvcc does not run"):
        find_toolkit(fake_search(tmp_path, ANSWER, programs=GPP))


def test_compiler(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="found no C\\+\\+ compiler") as caught:
        find_compiler(fake_search(tmp_path))
    assert "apt-get install g++" in caught.value.remedy
    with pytest.raises(BuildError, match="CXX=icpx does not run"):
        find_compiler(fake_search(tmp_path, ANSWER, programs=GPP, environ={"CXX": "icpx"}))
    assert find_compiler(fake_search(tmp_path, ANSWER, programs=GPP)).path == Path("/usr/bin/g++")


def test_unknown_architecture_names_the_known(tmp_path: Path) -> None:
    answers = {**ANSWER, **write_toolkit(tmp_path / "usr/local/cuda")}
    found = find_toolkit(fake_search(tmp_path, answers, programs=GPP))
    found.check_architectures((86, 87))
    with pytest.raises(UsageError, match=r"--cuda-arch 88 .* it knows 75, 86, 87, 110"):
        found.check_architectures((87, 88))
    assert GPU_CODES.split() == [f"sm_{number}" for number in found.architectures]


@pytest.mark.parametrize(("name", "expected"), [("orin", 87), ("orin-nx", 87), ("orin-nano", 87), ("thor", 110)])
def test_architecture_of_a_jetson(tmp_path: Path, name: str, expected: int) -> None:
    assert architectures_of_target(TARGETS[name], fake_search(tmp_path)) == (expected,)


def test_architectures_of_this_machine(tmp_path: Path) -> None:
    smi = {"nvidia-smi": "/usr/bin/nvidia-smi"}
    search = fake_search(tmp_path, {"compute_cap": "9.0\n8.6\n9.0\n"}, programs=smi)
    assert architectures_of_target(TARGETS["gpu"], search) == (86, 90)
    assert architectures_of_target(TARGETS["gpu"], fake_search(tmp_path, {"cap": "12.0\n"}, programs=smi)) == (120,)
    with pytest.raises(
        UsageError, match=r"nvidia-smi was not found, so the architecture is unknown \| give --cuda-arch"
    ):
        architectures_of_target(TARGETS["gpu"], fake_search(tmp_path))
    with pytest.raises(UsageError, match="reports no compute capability"):
        architectures_of_target(TARGETS["gpu"], fake_search(tmp_path, {"cap": "[N/A]\n"}, programs=smi))
    with pytest.raises(UsageError, match="does not use TensorRT"):
        architectures_of_target(TARGETS["cpu"], fake_search(tmp_path))

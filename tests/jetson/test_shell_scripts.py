"""The scripts for the Jetson, and every shell step of the workflow, parse and pass shellcheck; wrong use says what is right."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from jetson_files import REPOSITORY, SCRIPTS, WORKFLOW, tool


def shellcheck(path: Path) -> subprocess.CompletedProcess[str]:
    command = [tool("shellcheck"), "--shell", "bash", "--severity", "style", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def workflow_steps() -> list[str]:
    jobs = yaml.safe_load(WORKFLOW.read_text())["jobs"].values()
    return [step["run"] for job in jobs for step in job["steps"] if "run" in step]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts(script: Path) -> None:
    assert os.access(script, os.X_OK), f"chmod +x {script.name}"
    text = script.read_text()
    assert text.startswith("#!/usr/bin/env bash\n") and "\nset -euo pipefail\n" in text
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
    done = shellcheck(script)
    assert done.returncode == 0, done.stdout


def test_workflow_steps(tmp_path: Path) -> None:
    assert len(workflow_steps()) >= 8
    for step in workflow_steps():
        file = tmp_path / "step.sh"
        file.write_text(re.sub(r"\$\{\{.*?\}\}", "expression", step))
        assert subprocess.run(["bash", "-n", str(file)], check=False).returncode == 0
        done = shellcheck(file)
        assert done.returncode == 0, done.stdout


def test_shellcheck_would_find_something(tmp_path: Path) -> None:
    (tmp_path / "bad.sh").write_text('rm -rf $1/*\necho "$undefined_thing"\n')
    assert shellcheck(tmp_path / "bad.sh").returncode == 1


def test_quickstart_needs_no_systemd_and_no_root() -> None:
    for name in ("quickstart.sh", "install-runtime.sh", "compile-plugins.sh"):
        code = [line for line in (REPOSITORY / "jetson" / name).read_text().splitlines() if not line.startswith("#")]
        commands = "\n".join(line for line in code if "fail " not in line)
        assert not re.search(r"\b(systemctl|service|sudo|docker)\b", commands), name


@pytest.mark.parametrize(
    ("script", "arguments", "message"),
    [
        ("install-runtime.sh", (), "expected the environment's folder"),
        ("install-runtime.sh", ("{tmp}",), "exists already"),
        ("compile-plugins.sh", (), "expected the environment's folder"),
        ("compile-plugins.sh", ("{tmp}",), "run jetson/install-runtime.sh"),
        ("quickstart.sh", ("--nonsense",), "no such option"),
        ("quickstart.sh", ("--target",), "needs a name"),
    ],
)
def test_wrong_use(tmp_path: Path, script: str, arguments: tuple[str, ...], message: str) -> None:
    command = [str(REPOSITORY / "jetson" / script), *(item.format(tmp=tmp_path) for item in arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "HOME": str(tmp_path)}
    )
    assert done.returncode == 2, done.stderr
    assert message in done.stderr


@pytest.mark.skipif(Path("/etc/nv_tegra_release").exists(), reason="this is a Jetson")
def test_quickstart_insists_on_a_jetson(tmp_path: Path) -> None:
    command = [str(REPOSITORY / "jetson" / "quickstart.sh"), str(tmp_path / "environment")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "--any-machine" in done.stderr
    assert not (tmp_path / "environment").exists()


def test_plugins_are_compiled_with_no_others_headers(tmp_path: Path) -> None:
    """Where the system has no headers, `plugin build` would fetch some; the library has to match the device's TensorRT."""
    folders = (Path("/usr/include"), Path(f"/usr/include/{os.uname().machine}-linux-gnu"))
    if any((folder / "NvInfer.h").exists() for folder in folders):
        pytest.skip("TensorRT's headers are installed on this machine")
    fake = tmp_path / "bin" / "edgeexport"
    fake.parent.mkdir()
    fake.write_text('#!/bin/sh\necho "$@" >> "$(dirname "$0")/calls"\n')
    fake.chmod(0o755)
    command = [str(REPOSITORY / "jetson" / "compile-plugins.sh"), str(tmp_path), "orin-nx"]
    clean = {key: value for key, value in os.environ.items() if key != "TENSORRT_INCLUDE"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=clean)
    assert done.returncode == 1 and "libnvinfer-headers-dev" in done.stderr
    assert not (fake.parent / "calls").exists()
    done = subprocess.run(command, check=False, env={**clean, "TENSORRT_INCLUDE": "/some/where"})
    assert done.returncode == 0
    built, tested = (fake.parent / "calls").read_text().splitlines()
    library = f"{tmp_path}/lib/libedgeexport_plugins.so"
    assert built == f"plugin build --target orin-nx --tensorrt-include /some/where --out {library}"
    assert tested == f"plugin test {library} --target orin-nx --machine {os.uname().machine}"

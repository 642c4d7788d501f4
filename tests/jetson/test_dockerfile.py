"""Dockerfile.jetson as far as it can be checked without docker and without a Jetson."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from jetson_files import DOCKERFILE, REPOSITORY, copied_paths, docker_steps, in_context, tool, tracked_files

TEXT = DOCKERFILE.read_text()


def linted(path: Path) -> subprocess.CompletedProcess[str]:
    command = [tool("hadolint"), "--no-color", "--failure-threshold", "style", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_hadolint_has_nothing_to_say() -> None:
    done = linted(DOCKERFILE)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout


@pytest.mark.parametrize("line", ["RUN pip install numpy", "RUN cd /tmp && ls | grep x && sudo ls", "COPYY a b"])
def test_hadolint_would_find_something(tmp_path: Path, line: str) -> None:
    bad = tmp_path / "Dockerfile"
    bad.write_text(TEXT + line + "\n")
    assert linted(bad).returncode != 0


def test_copied_paths_exist_and_reach_the_context() -> None:
    files = tracked_files()
    assert "pyproject.toml" in copied_paths()
    for source in copied_paths():
        assert (REPOSITORY / source).exists(), source
        inside = [name for name in files if name == source or name.startswith(f"{source}/")]
        assert inside, f"{source} has no tracked files"
        missing = [name for name in inside if not in_context(name) and not name.startswith("jetson/ci/")]
        assert not missing, f".dockerignore leaves out {missing}"


def test_the_context_holds_nothing_else() -> None:
    copied = tuple(copied_paths())
    for name in tracked_files():
        if in_context(name):
            assert name in copied or name.startswith(tuple(f"{path}/" for path in copied)), name
    others = (".git/config", ".venv/bin/python", "work_dirs/b/model.onnx", "plugins/build/x.o", "plugins/x.so")
    for name in (*others, "edgeexport/__pycache__/a.pyc", "jetson/ci/edgeexport.yml"):
        assert not in_context(name), name


def test_what_the_package_is_built_from_is_copied() -> None:
    """Hatchling needs the readme, the licence, the package, and the folders that go into the wheel."""
    project = (REPOSITORY / "pyproject.toml").read_text()
    needed = {
        "pyproject.toml",
        *re.findall(r'readme = "(.+?)"', project),
        *re.findall(r'packages = \["(\w+)"\]', project),
        *re.findall(r'"(\w+)"', re.findall(r"license-files = \[(.+?)\]", project)[0]),
    }
    needed |= set(re.findall(r'^"(\w+)" = "edgeexport/', project, re.MULTILINE))
    assert needed >= {"README.md", "LICENSE", "NOTICE", "edgeexport", "recipes", "plugins"}
    assert needed <= set(copied_paths())


def test_no_step_loads_tensorrt() -> None:
    """The driver's libraries are absent while an image is built."""
    steps = [text for name, text in docker_steps() if name == "RUN"]
    scripts = {word for text in steps for word in re.findall(r"/source/(jetson/[\w-]+\.sh)", text)}
    assert scripts == {"jetson/install-runtime.sh", "jetson/compile-plugins.sh"}
    for text in (*steps, *((REPOSITORY / script).read_text() for script in scripts)):
        code = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
        assert not re.search(
            r"import tensorrt|trtexec|polygraphy|edgeexport (build|run|verify|profile|doctor)", code
        ), code


def test_what_compiles_the_plugins_is_installed() -> None:
    """Beside CUDA and TensorRT's headers, which the base images have."""
    installed = next(text for name, text in docker_steps() if name == "RUN" and "apt-get install" in text).split()
    assert {"cmake", "g++", "ninja-build"} <= set(installed)
    (line,) = re.findall(
        r"(?m)^ {4}sudo apt-get install nvidia-jetpack (.+)$", (REPOSITORY / "jetson/README.md").read_text()
    )
    assert {"cmake", "g++", "ninja-build"} <= set(line.split())


def test_base_images_are_pinned() -> None:
    images = re.findall(r"BASE_IMAGE=(\S+)", TEXT)
    assert len(images) == 2
    for image in images:
        name, _, tag = image.partition(":")
        assert name.startswith("nvcr.io/nvidia/") and re.search(r"\d", tag) and "latest" not in tag, image
    assert [text for name, text in docker_steps() if name == "FROM"] == ["${BASE_IMAGE}"]
    assert re.search(r"^ARG BASE_IMAGE=nvcr\.io/nvidia/l4t-jetpack:r36\.4\.0$", TEXT, re.MULTILINE), (
        "JetPack 6 by default"
    )


def test_entry_point_and_user() -> None:
    steps = docker_steps()
    assert ("ENTRYPOINT", '["edgeexport"]') in steps
    assert ("USER", "${RUN_AS}") in steps
    assert ("ARG", "RUN_AS=root") in steps and any("useradd" in text and "edgeexport" in text for _, text in steps)
    environment = next(text for name, text in steps if name == "ENV")
    assert "NVIDIA_VISIBLE_DEVICES=all" in environment and "NVIDIA_DRIVER_CAPABILITIES=all" in environment
    assert "/opt/edgeexport/environment/bin:${PATH}" in environment

#!/usr/bin/env python3
"""Everything that a Jetson without a network needs, in one folder, made on a PC with one.

    python jetson/collect_wheels.py FOLDER [--python 3.10] [--python 3.12] [--no-onnxruntime]

FOLDER/wheels holds edgeexport and what it needs, for aarch64 and the Pythons of JetPack 6 (3.10) and 7.2 (3.12), at the
versions of constraints.txt; FOLDER/jetson the scripts. Copy FOLDER to the device: FOLDER/jetson/quickstart.sh installs from it,
and asks no index. Every wheel is checked: that this Python and machine take it, that its native code is for aarch64, and that
all it requires is there.
Needs pip, packaging and hatchling, which the extra `dev` has.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Sequence
from email.parser import HeaderParser
from pathlib import Path

from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import canonicalize_name, parse_wheel_filename

__all__ = ["PYTHONS", "pinned", "problems", "requirements_of", "tags_of"]

PYTHONS = ("3.10", "3.12")
"""Of JetPack 6 and 7.2."""

_HERE = Path(__file__).resolve().parent
_GLIBC = (17, 24, 26, 27, 28, 31, 34, 35)
"""Of glibc 2: Ubuntu 22.04, JetPack 6's, has 2.35; JetPack 7.2's has a newer one."""

_PLATFORMS = [f"manylinux_2_{minor}_aarch64" for minor in reversed(_GLIBC)] + ["manylinux2014_aarch64"]
_BUILD_ONLY = {"hatchling", "pathspec", "pluggy", "tomli", "tomlkit", "trove-classifiers"}
_ONNXRUNTIME = {"onnxruntime", "coloredlogs", "flatbuffers", "humanfriendly", "mpmath", "protobuf", "sympy"}
_SCRIPTS = (
    "quickstart.sh",
    "install-runtime.sh",
    "compile-plugins.sh",
    "with-clocks.sh",
    "constraints.txt",
    "README.md",
)
_ELF, _AARCH64 = b"\x7fELF", 183


def environment_of(python: str) -> dict[str, str]:
    """What markers ask of a Jetson with that Python."""
    return {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "platform_machine": "aarch64",
        "os_name": "posix",
        "extra": "",
    }


def tags_of(python: str) -> set[Tag]:
    """The tags of wheels that a Jetson with that Python takes."""
    major, minor = map(int, python.split("."))
    interpreter = f"cp{major}{minor}"
    return {
        *cpython_tags((major, minor), abis=[interpreter], platforms=_PLATFORMS),
        *compatible_tags((major, minor), interpreter, _PLATFORMS),
    }


def pinned(constraints: str, python: str) -> dict[str, str]:
    """Package -> version that constraints.txt names for a Python."""
    found = {}
    for line in constraints.splitlines():
        requirement, _, marker = line.partition(";")
        if "==" in requirement and (not marker or Marker(marker).evaluate(environment_of(python))):
            name, _, version = requirement.strip().partition("==")
            found[canonicalize_name(name)] = version
    return found


def requirements_of(wheel: Path, python: str, extras: Iterable[str] = ()) -> list[Requirement]:
    """What a wheel requires on a Jetson with that Python."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [item for item in archive.namelist() if item.endswith(".dist-info/METADATA")]
        told = HeaderParser().parsestr(archive.read(name).decode("utf-8")).get_all("Requires-Dist") or []
    environments = [{**environment_of(python), "extra": extra} for extra in ("", *extras)]
    requirements = [Requirement(text) for text in told]
    return [
        item
        for item in requirements
        if item.marker is None or any(item.marker.evaluate(environment) for environment in environments)
    ]


def problems(folder: Path, python: str, extras: Sequence[str] = ("cpu",)) -> list[str]:
    """What keeps edgeexport from being installed from the wheels in ``folder`` alone; empty where nothing does."""
    tags = tags_of(python)
    usable: dict[str, tuple[Path, str]] = {}
    for path in sorted(folder.glob("*.whl")):
        name, version, _, own = parse_wheel_filename(path.name)
        if own & tags:
            usable[name] = (path, str(version))
    if "edgeexport" not in usable:
        return [f"no wheel of edgeexport that Python {python} on aarch64 takes"]
    found: list[str] = []
    asked, seen = ["edgeexport"], {"edgeexport"}
    while asked:
        path, _ = usable[asked.pop()]
        found += [f"{path.name}: {member} is for another processor" for member in _foreign(path)]
        for requirement in requirements_of(path, python, extras if path.name.startswith("edgeexport-") else ()):
            name = canonicalize_name(requirement.name)
            if name not in usable:
                found.append(
                    f"{path.name} requires {requirement}, of which Python {python} on aarch64 has no wheel here"
                )
            elif not requirement.specifier.contains(usable[name][1], prereleases=True):
                found.append(f"{path.name} requires {requirement}, here is {usable[name][1]}")
            elif name not in seen:
                seen.add(name)
                asked.append(name)
    return found


def _foreign(wheel: Path) -> list[str]:
    """Native code of a wheel that is not for aarch64."""
    found = []
    with zipfile.ZipFile(wheel) as archive:
        for item in archive.infolist():
            with archive.open(item) as stream:
                head = stream.read(20)
            if head[:4] == _ELF and int.from_bytes(head[18:20], "little") != _AARCH64:
                found.append(item.filename)
    return found


def _download(folder: Path, python: str, versions: dict[str, str]) -> None:
    options = [part for platform in _PLATFORMS for part in ("--platform", platform)]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", *options]
    command += ["--python-version", python, "--implementation", "cp", "--dest", str(folder)]
    _run([*command, *(f"{name}=={version}" for name, version in versions.items())], f"wheels for Python {python}")


def _build(folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    _run([*command, "--wheel-dir", str(folder), str(_HERE.parent)], "edgeexport's own wheel (pip install hatchling)")


def _run(command: Sequence[str], what: str) -> None:
    code = subprocess.run(command, check=False).returncode
    if code:
        raise SystemExit(f"{what} | pip ended with exit code {code} | its message stands above")


def main(arguments: Sequence[str] | None = None) -> None:
    """Fills the folder and checks it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--python", action="append", choices=PYTHONS, help="repeatable; both by default")
    parser.add_argument(
        "--no-onnxruntime", action="store_true", help="without ONNX Runtime, 20 MB that TensorRT does not need"
    )
    given = parser.parse_args(arguments)
    if given.folder.exists() and any(given.folder.iterdir()):
        raise SystemExit(f"{given.folder} | is not empty | name a new folder")
    wheels, scripts = given.folder / "wheels", given.folder / "jetson"
    wheels.mkdir(parents=True)
    scripts.mkdir()
    for name in _SCRIPTS:
        shutil.copy(_HERE / name, scripts / name)
    _build(wheels)
    extras = () if given.no_onnxruntime else ("cpu",)
    constraints = (_HERE / "constraints.txt").read_text(encoding="utf-8")
    for python in given.python or PYTHONS:
        left_out = _BUILD_ONLY | (set() if extras else _ONNXRUNTIME)
        versions = {name: version for name, version in pinned(constraints, python).items() if name not in left_out}
        _download(wheels, python, versions)
        found = problems(wheels, python, extras)
        if found:
            raise SystemExit(
                "\n".join([f"{given.folder} | cannot be installed offline | {len(found)} problems", *found])
            )
        print(f"Python {python}, aarch64: {len(versions) + 1} wheels, complete")
    files = sorted(wheels.glob("*.whl"))
    sums = "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  wheels/{path.name}\n" for path in files)
    (given.folder / "SHA256SUMS").write_text(sums, encoding="utf-8")
    size = sum(path.stat().st_size for path in files) / 1e6
    print(f"{given.folder}: {len(files)} files, {size:.0f} MB. On the device: {given.folder.name}/jetson/quickstart.sh")


if __name__ == "__main__":
    main()

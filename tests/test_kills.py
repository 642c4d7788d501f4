"""Long commands killed at their every step: no earlier file is lost, and one more command leaves nothing behind."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from evaluation_cases import write_pairs
from shared_cases import ONE_BLOCK, TINY_RECIPE

SERVER = Path(__file__).with_name("kill_server.py")
SMALL = [word for option in ONE_BLOCK for word in ("--cfg-options", option)]
BUILD = ["build", "tiny.py", "--target", "cpu", "--work-dir", "b", *SMALL]
PROFILE = ["profile", "b", "--duration", "0", "--iterations", "2", "--warmUp", "0", "--allow-unstable"]
# Command -> what is killed, and what is called next.
COMMANDS = {
    "build": (BUILD, PROFILE),
    "verify": (["verify", "b"], ["verify", "b"]),
    "profile": (PROFILE, PROFILE),
    "evaluate": (
        [*(words := ["evaluate", "b", "--data", "data", "--out-dir", "out"]), "--restart"],
        words,
    ),
    "calibrate": (
        [*(words := ["calibrate", "tiny.py", "--data", "data", "--coverage", "0.9", "--out-dir", "out"]), "--restart"],
        words,
    ),
    "plugin build": (words := ["plugin", "build", "--out", "out/plugins.so"], words),
}
_DRAWN = re.compile("(tmp)?[a-z0-9_]{8}")
# Stands in for CMake, which takes minutes: 'compiles' by copying a library compiled before.
CMAKE = """#!/bin/sh
case "$*" in
  *--version*) echo "cmake version 3.30.0";;
  *--build*) mkdir -p "$2/CMakeFiles" && cp "$LIBRARY" "$2/libedgeexport_plugins.so";;
esac
"""


class Killing:
    """The server of `kill_server.py`, and a folder for each run: ``work``, ``tmp`` and ``cache``."""

    def __init__(self, root: Path, exports: str, modules: Sequence[str]) -> None:
        self.root, self.exports, self.number = root, exports, 0
        self.log = root / "log"
        self.server = subprocess.Popen(
            [sys.executable, str(SERVER), *modules], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, arguments: list[str], case: Path, number: int = 0, instant: int = 0) -> dict[str, Any]:
        """Runs a command in ``case/work``; it is sent the signal ``number`` before its N-th change of a file."""
        assert self.server.stdin is not None and self.server.stdout is not None
        environ = {
            "TMPDIR": str(case / "tmp"),
            "XDG_CACHE_HOME": str(case / "cache"),
            "EDGEEXPORT_EXPORT_CACHE": self.exports,
            "LIBRARY": str(self.root / "libedgeexport_plugins.so"),
            "PATH": f"{self.root / 'bin'}:{os.environ['PATH']}",
        }
        asked = {"arguments": arguments, "folder": str(case / "work"), "environ": environ, "log": str(self.log)}
        self.server.stdin.write(json.dumps({**asked, "signal": int(number), "instant": instant}) + "\n")
        self.server.stdin.flush()
        answer: dict[str, Any] = json.loads(self.server.stdout.readline())
        return answer

    def copy(self, template: Path) -> Path:
        self.number += 1
        return Path(shutil.copytree(template, self.root / f"case{self.number}", symlinks=True))

    def told(self) -> str:
        return self.log.read_text()[-4000:]


@contextlib.contextmanager
def started(root: Path, *modules: str) -> Iterator[Killing]:
    killing = Killing(root, os.environ["EDGEEXPORT_EXPORT_CACHE"], modules)
    try:
        yield killing
    finally:
        assert killing.server.stdin is not None
        killing.server.stdin.close()
        killing.server.wait()


@pytest.fixture(scope="module")
def killing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Killing]:
    everything = ("commands.build", "evaluation.evaluate", "calibration.calibrate_counts", "plugin.command")
    with started(tmp_path_factory.mktemp("kills"), "timm", *(f"edgeexport.{name}" for name in everything)) as killing:
        yield killing


def left_behind(case: Path) -> set[str]:
    """Hidden names anywhere, and whatever is among the temporary files; but for what others make: ONNX Runtime's own two, and
    the names that Python's tempfile draws, for itself and for mmengine, which copies a recipe there to read it.
    """
    found = {*case.rglob(".*"), *(path for path in (case / "tmp").iterdir() if not _DRAWN.fullmatch(path.name))}
    return {str(path.relative_to(case)) for path in found if path.name not in (".ses", ".onnxruntime")}


def files_of(case: Path) -> dict[str, bytes]:
    found = {str(path.relative_to(case)): path for path in sorted(case.rglob("*")) if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items()}


def prepared(killing: Killing, name: str) -> Path:
    """What was there before: the command has run once, and bundles have results."""
    template = killing.root / f"template {name}"
    for folder in ("work", "tmp", "cache"):
        (template / folder).mkdir(parents=True)
    (template / "work" / "tiny.py").write_text(TINY_RECIPE)
    if name == "plugin build":
        library_compiled_before(killing.root)
    if name in ("evaluate", "calibrate"):
        write_pairs(template / "work" / "data", 2)
    before = [BUILD] if name in ("build", "verify", "profile", "evaluate") else []
    before += [COMMANDS["verify"][0]] if name == "build" else []
    for arguments in [*before, COMMANDS[name][1]]:
        assert killing.run(arguments, template)["code"] == 0, killing.told()
    assert not left_behind(template)
    if name == "plugin build":  # so that it is compiled again
        shutil.rmtree(template / "cache")
        (template / "cache").mkdir()
    return template


def library_compiled_before(root: Path) -> None:
    from edgeexport.plugin.compile import compile_library
    from edgeexport.plugin.headers import find_headers
    from edgeexport.plugin.sources import sources_folder
    from edgeexport.plugin.toolkit import find_toolkit

    (root / "bin").mkdir()
    (root / "bin" / "cmake").write_text(CMAKE)
    (root / "bin" / "cmake").chmod(0o755)
    built = compile_library(sources_folder(), (87,), find_toolkit(), find_headers())
    shutil.copyfile(built.facts.path, root / "libedgeexport_plugins.so")


def check_instant(killing: Killing, name: str, template: Path, number: int, instant: int) -> set[str]:
    """Kills once; returns what was left behind until the next command."""
    killed, again = COMMANDS[name]
    case = killing.copy(template)
    before = files_of(case)
    answer = killing.run(killed, case, number, instant)
    after = files_of(case)
    assert before.keys() <= after.keys(), (name, instant, before.keys() - after.keys())
    for path, content in after.items():
        if path.endswith(".json") and "/." not in path:
            json.loads(content)
    remains = left_behind(case)
    if number == signal.SIGTERM:
        assert answer["code"] == 143, (name, instant, answer, killing.told())
        assert not remains, (name, instant)
    else:
        assert answer["code"] == -signal.SIGKILL, (name, instant, answer)
    assert killing.run(again, case)["code"] == 0, (name, instant, killing.told())
    assert not left_behind(case), (name, instant)
    assert before.keys() <= files_of(case).keys(), (name, instant)
    shutil.rmtree(case)
    return remains


def check_command(killing: Killing, name: str, template: Path, instants: int) -> None:
    changes = killing.run(COMMANDS[name][0], killing.copy(template))["changes"]
    assert changes > 0
    for number in (signal.SIGKILL, signal.SIGTERM):
        steps = sorted({1 + place * (changes - 1) // max(instants - 1, 1) for place in range(instants)})
        remains = [bool(check_instant(killing, name, template, number, step)) for step in steps]
        print(f"{name}: {changes} changes, {number.name} at {len(steps)}, {sum(remains)} left something for the next")


def test_a_measurement_killed_at_a_few_steps(tmp_path: Path, tiny_bundle: Path) -> None:
    """Of the long commands the one that needs no torch."""
    template = tmp_path / "template"
    for folder in ("work", "tmp", "cache"):
        (template / folder).mkdir(parents=True)
    shutil.copytree(tiny_bundle, template / "work" / "b")
    with started(tmp_path, "edgeexport.profile.bench", "edgeexport.report.refresh", "onnxruntime") as killing:
        assert killing.run(PROFILE, template)["code"] == 0, killing.told()
        check_command(killing, "profile", template, 3)


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_every_long_command_killed_at_twenty_steps(killing: Killing, name: str) -> None:
    check_command(killing, name, prepared(killing, name), 20)

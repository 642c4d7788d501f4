"""The plugin classes, driven through getCreators by a C++ program (plugins/tests) with AddressSanitizer.

Twice: as they are in the compiled library, where CUDA's runtime is linked and no GPU answers; and on a stand-in for CUDA
in host memory, with AddressSanitizer and UndefinedBehaviorSanitizer in the plugin classes too, where they run to the end.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from library_cases import SOURCES, driver_program, run_checked, stand_in_library

CHECKS = ["interfaces", "attributes", "messages", "serialisation", "shapes", "formats", "dimensions"]
SPECIAL = {"without-gpu", "enqueue"}


def run_check(library: Path, check: str) -> subprocess.CompletedProcess[str]:
    done = run_checked(driver_program(), library, check)
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stderr[-4000:]}"
    return done


def check_messages_without_a_logger(done: subprocess.CompletedProcess[str], check: str) -> None:
    """Nothing but what a check provokes on purpose: a message each with a finder of nothing, one that throws, and none."""
    lines = done.stderr.splitlines()
    assert len(lines) == (3 if check == "messages" else 0), done.stderr
    assert all(line.startswith('edgeexport plugins: TokenPartition: attribute "k" | missing') for line in lines)


def test_every_check_is_run() -> None:
    text = (SOURCES / "tests/driver.cpp").read_text(encoding="utf-8")
    assert set(re.findall(r'\{"([\w-]+)", check\w+\}', text)) == {*CHECKS, *SPECIAL}


@pytest.mark.parametrize("check", CHECKS)
def test_compiled_library(plugin_library: Path, check: str) -> None:
    check_messages_without_a_logger(run_check(plugin_library, check), check)


@pytest.mark.parametrize("check", [*CHECKS, "enqueue"])
def test_stand_in_for_cuda(check: str) -> None:
    check_messages_without_a_logger(run_check(stand_in_library(), check), check)


@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="this machine has a GPU")
def test_without_a_gpu_a_message_says_so(plugin_library: Path) -> None:
    run_check(plugin_library, "without-gpu")


@pytest.mark.parametrize(
    ("arguments", "finding"),
    [
        (("/nowhere.so", "shapes"), "/nowhere.so"),
        ((None, "no-such-check"), "no check no-such-check"),
    ],
)
def test_driver_that_cannot_run_says_why(arguments: tuple[str | None, str], finding: str) -> None:
    done = run_checked(driver_program(), arguments[0] or stand_in_library(), arguments[1])
    assert done.returncode == 2 and finding in done.stderr


def test_driver_notices(plugin_library: Path) -> None:
    """The check that runs plugins fails on a library that has no stand-in for CUDA: a driver that passes all is no proof."""
    done = run_checked(driver_program(), plugin_library, "enqueue")
    assert done.returncode == 1 and "stand-in for CUDA" in done.stderr

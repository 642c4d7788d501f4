"""What plugins read of nodes and serialised engines (plugins/tests/fuzz_fields.cpp), with sanitizers in all of it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from library_cases import fuzz_program, run_checked

from edgeexport.plugin.toolkit import Compiler

CORPUS = Path(__file__).parent / "corpus" / "fields"
SECONDS = float(os.environ.get("EDGEEXPORT_FUZZ_SECONDS", "0"))


def test_kept_inputs() -> None:
    """Those that reach the most code, and former findings; with whichever compiler is here."""
    files = sorted(CORPUS.iterdir())
    done = run_checked(fuzz_program(), *files)
    assert done.returncode == 0 and f"{len(files)} inputs" in done.stdout, done.stderr[-4000:]


def test_new_inputs(tmp_path: Path) -> None:
    clang = shutil.which("clang++")
    if not SECONDS or clang is None:
        pytest.skip("`make fuzz` runs it, where there is a clang++ with libFuzzer")
    version = subprocess.run([clang, "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]
    program = fuzz_program(Compiler(Path(clang), version))
    limits = [f"-max_total_time={int(SECONDS / 18)}", "-timeout=30", "-rss_limit_mb=2048", "-max_len=1024"]
    shutil.copytree(CORPUS, tmp_path / "corpus")
    done = subprocess.run(
        [program, *limits, "-print_final_stats=1", f"-artifact_prefix={CORPUS}/", tmp_path / "corpus"],
        capture_output=True,
        text=True,
    )
    print(done.stderr[-600:])
    assert done.returncode == 0, done.stderr[-4000:]

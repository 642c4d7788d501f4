"""Names and places that a command meets, and what its output leads to."""

from __future__ import annotations

import errno
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from shared_cases import TINY_RECIPE, CommandResult

from edgeexport.errors import BuildError, error_of_memory, error_of_system, plain_text
from edgeexport.inputs.photos import open_photo
from edgeexport.terminal.output import print_line, results_console

LONG = "a" * 300


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\x1b[31mred\r\n", r"\x1b[31mred\r\n"),
        ("x\udcff.png", r"x\xff.png"),
        ("a\u202eb", r"a\u202eb"),
        ("5\u202fPM é 図", "5\u202fPM é 図"),
    ],
)
def test_text_of_strangers_is_one_plain_line(text: str, expected: str) -> None:
    assert plain_text(text) == expected


def test_brackets_and_escapes_are_shown_as_they_are() -> None:
    with results_console.capture() as shown:
        print_line("[/x] [bold]a :smile: \x1b[2J")
        results_console.print("[/y]\x1b[2J")
    assert shown.get() == "[/x] [bold]a :smile: \\x1b[2J\n[/y]\\x1b[2J\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("inspect", LONG),
        ("lint", f"{LONG}.onnx"),
        ("verify", LONG),
        ("build", f"{LONG}.py", "--target", "cpu"),
        ("build", "tiny.py", "--target", "cpu", "--dry-run", "--work-dir", LONG),
        ("build", "tiny.py", "--target", "cpu", "--work-dir", "a" * 250),
        ("build", "tiny.py", "--target", "cpu", "--dry-run", "--checkpoint", LONG),
        ("plugin", "build", "--out", LONG),
    ],
)
def test_long_names_are_told_before_the_work(
    edgeexport: Callable[..., CommandResult],
    tiny_recipe: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
) -> None:
    monkeypatch.chdir(tiny_recipe.parent)
    result = edgeexport(*arguments)
    assert result.code in (2, 5) and "a" * 250 in result.err.splitlines()[-1]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--threads", "100000"), "--threads"),
        (("--useDLACore", "-3"), "--dla-core"),
        (("--workspace", "99999999999999999999"), "--workspace"),
        (("--cfg-options", "input.shape.0=1000000000"), "input.shape"),
        (("--cfg-options", "model.backbone.num_layers=1000000000"), "num_layers"),
    ],
)
def test_options_out_of_all_bounds(
    edgeexport: Callable[..., CommandResult], tiny_recipe: Path, options: tuple[str, str], named: str
) -> None:
    result = edgeexport("build", tiny_recipe, "--target", "cpu", "--dry-run", *options)
    assert result.code == 2 and named in result.err


@pytest.mark.parametrize(("start", "code"), [("", 0), ("\ufeff", 2)])
def test_recipes_written_on_windows(
    edgeexport: Callable[..., CommandResult], tmp_path: Path, start: str, code: int
) -> None:
    recipe = tmp_path / "windows.py"
    recipe.write_bytes((start + TINY_RECIPE.replace("\n", "\r\n")).encode())
    result = edgeexport("build", recipe, "--target", "cpu", "--dry-run")
    assert result.code == code and ("byte-order mark" in result.err) == bool(code)


@pytest.mark.parametrize(
    ("redirected", "code", "told"),
    [
        (">&-", 0, ""),
        (">/dev/full", 2, "standard output | cannot be written"),
        ("--json >/dev/full", 2, "standard output | cannot be written"),
        ("| sleep 0", 0, ""),
    ],
)
def test_output_that_leads_nowhere(redirected: str, code: int, told: str) -> None:
    command = f"{sys.executable} -m edgeexport recipes {redirected}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == code and told in done.stderr and len(done.stderr.splitlines()) == bool(told)


def test_what_the_system_refuses_is_told_with_the_path() -> None:
    refused = error_of_system(PermissionError(errno.EACCES, "Permission denied", "no/x"))
    assert refused is not None and str(refused).startswith("no/x | permission denied | check the permissions")
    assert error_of_system(OSError("of no file")) is None
    assert error_of_memory(MemoryError()) is not None and error_of_memory(RuntimeError("other")) is None


def test_a_photograph_is_in_memory_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (40, 30)).save(tmp_path / "x.png")
    for name in ("convert", "copy"):
        monkeypatch.setattr(Image.Image, name, lambda *_: pytest.fail("a second copy"))
    assert open_photo(tmp_path / "x.png").size == (40, 30)


def test_further_lines_stay_lines_and_cannot_pass_for_a_message() -> None:
    error = BuildError(
        "a.cu", "does not compile", "report it", ["a.cu(1): error", "\x1b[2Kerror: forged\nerror: x | y"]
    )
    assert str(error).splitlines() == [
        "a.cu | does not compile | report it",
        "  a.cu(1): error",
        r"  \x1b[2Kerror: forged\nerror: x | y",
    ]

"""What people expect of any command line: help with examples, one spelling, quiet and verbose, errors that say what is near."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import typer
from parsed_calls import parse_call
from shared_cases import CommandResult

from edgeexport.cli.app import app
from edgeexport.cli.examples import EXAMPLES
from edgeexport.errors import near_name, nearest_hint
from edgeexport.terminal import output
from edgeexport.terminal.verbosity import set_verbosity

Command = Callable[..., CommandResult]


def commands(command: Any = None, words: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Every command by its words, the groups among them."""
    command = typer.main.get_command(app) if command is None else command
    yield " ".join(words), command
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, (*words, name))


ALL = dict(commands())


@pytest.mark.parametrize("name", ALL)
def test_every_help_has_two_examples_that_the_command_line_takes(edgeexport: Command, name: str) -> None:
    shown = edgeexport(*name.split(), "--help")
    assert shown.code == 0 and "Usage:" in shown.out and len(EXAMPLES[name]) >= 2
    for what, line in EXAMPLES[name]:
        assert f"  {what}\n    {line}\n" in shown.out
        words = shlex.split(line)
        assert words[0] == "edgeexport"
        parse_call(words[1:])  # raises for what the command line does not take
        assert not name or line.startswith(f"edgeexport {name}")


def test_examples_are_of_commands_that_there_are() -> None:
    assert set(EXAMPLES) == set(ALL)


def test_one_spelling_of_options_and_trtexecs_beside_it() -> None:
    aliases = set()
    for name, command in ALL.items():
        for parameter in command.params:
            if parameter.opts[0].startswith("-"):
                long = [option for option in parameter.opts if option.startswith("--")]
                assert re.fullmatch(r"--[a-z0-9]+(-[a-z0-9]+)*", long[0]), (name, long)
                aliases |= set(long[1:])
    assert aliases == {"--useCudaGraph", "--useDLACore", "--policyDLACore", "--warmUp"}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("biuld",), "biuld | is no command of edgeexport | did you mean 'build'?"),
        (("zzz",), "zzz | is no command of edgeexport | `edgeexport --help` lists them"),
        (("plugin", "bild"), "bild | is no command of edgeexport plugin | did you mean 'build'?"),
        (("build", "x", "--presicion", "fp16"), "did you mean '--precision'?"),
        (
            ("build", "x", "--zzz"),
            "--zzz | is no option of edgeexport build | `edgeexport build --help` lists its options",
        ),
        (("build",), "RECIPE | is missing behind edgeexport build | `edgeexport build --help` has examples"),
        (("run", "b", "--threads", "-1"), "--threads | "),
        (("-q", "-v", "doctor"), "-q and -v | are opposites"),
    ],
)
def test_a_mistaken_call_is_one_line_and_json_where_asked(
    edgeexport: Command, words: tuple[str, ...], told: str
) -> None:
    found = edgeexport(*words)
    assert found.code == 2 and found.out == "" and told in found.err and found.err.count("\n") == 1
    asked = edgeexport(*words, "--json")
    assert asked.code == 2 and json.loads(asked.out)["error"]["exit_code"] == 2


def test_only_what_is_near_is_meant() -> None:
    assert near_name("FP61", ["fp16", "fp32"]) == "fp16"
    assert near_name("quick", ["build", "verify"]) is None
    assert nearest_hint("quick", ["verify", "build"]) == "known: build, verify"


def test_quiet_and_verbose_in_any_place(edgeexport: Command, tiny_recipe: Any) -> None:
    words = ("lint", tiny_recipe)
    usual, quiet, verbose = edgeexport(*words), edgeexport(*words, "-q"), edgeexport("-v", *words)
    assert "... lint" in usual.err and quiet.err == ""
    assert usual.out == quiet.out and re.search(r"(?m)^    export: \d+\.\d s$", verbose.err)
    failed = edgeexport("inspect", "nowhere", "--verbose")
    assert "Traceback" in failed.err and failed.err.splitlines()[-1].startswith("error: nowhere | ")
    assert "Traceback" not in edgeexport("inspect", "nowhere").err  # and the level is the next call's own


def test_stages_that_ended_stay_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    set_verbosity("normal")
    console = output._PlainConsole(force_terminal=True, width=60, record=True, force_interactive=False)
    monkeypatch.setattr(output, "errors_console", console)
    with output.stages_shown(first="1 of 2: a") as on_stage:
        on_stage("2 of 2: b")
    lines = [line.rstrip() for line in console.export_text().splitlines() if line.strip()]
    assert [re.sub(r"\d\.\d s", "n s", line) for line in lines] == ["  1 of 2: a: n s", "  2 of 2: b: n s"]


def test_a_build_counts_its_stages(edgeexport: Command, tiny_recipe: Any, tmp_path: Any) -> None:
    built = edgeexport("build", tiny_recipe, "--target", "cpu", "--no-plugins", "--work-dir", tmp_path / "b")
    assert built.code == 0
    numbered = re.findall(r"(?m)^\.\.\. (\d+) of (\d+): (.*)$", built.err)
    assert [int(number) for number, _, _ in numbered] == list(range(2, 11)) and {total for _, total, _ in numbered} == {
        "10"
    }
    assert numbered[-1][2] == "report" and built.err.startswith("... load torch and its exporter\n... read recipe\n")


def test_nothing_heavy_is_loaded_before_the_first_word() -> None:
    code = (
        "import sys; sys.argv = ['edgeexport', 'build', '--help']\n"
        "from edgeexport.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'torch', 'onnx', 'onnxruntime', 'PIL', 'scipy', 'cv2', 'msgspec', 'jinja2'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    start = time.process_time()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert time.process_time() - start < 5

"""What the files for the Jetson say: steps of the Dockerfile, what the build context has, commands in scripts and documents."""

from __future__ import annotations

import fnmatch
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import typer

REPOSITORY = Path(__file__).resolve().parents[2]
DOCKERFILE = REPOSITORY / "Dockerfile.jetson"
SCRIPTS = sorted((REPOSITORY / "jetson").glob("*.sh"))
WORKFLOW = REPOSITORY / "jetson" / "ci" / "edgeexport.yml"
COMPOSE = REPOSITORY / "jetson" / "compose.yaml"


def tool(name: str) -> str:
    """A program of the dev extra: beside the interpreter, or on PATH."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    assert found is not None, f"{name} is missing: pip install 'edgeexport[dev]'"
    return found


def docker_steps() -> list[tuple[str, str]]:
    """(instruction, its text) of the Dockerfile, with continued lines joined."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if line.strip() and not line.startswith("#")]
    text = "\n".join(lines).replace("\\\n", " ")
    return [(name, " ".join(rest.split())) for name, _, rest in (line.partition(" ") for line in text.splitlines())]


def copied_paths() -> list[str]:
    """Sources of all COPY instructions."""
    return [source for name, text in docker_steps() if name == "COPY" for source in text.split()[:-1]]


def in_context(name: str) -> bool:
    """Whether .dockerignore leaves a file in the build context: the last pattern that fits it or a folder above decides."""
    kept = True
    for line in (REPOSITORY / ".dockerignore").read_text().splitlines():
        pattern = line.strip()
        if not pattern or pattern.startswith("#"):
            continue
        negated, pattern = pattern.startswith("!"), pattern.removeprefix("!")
        anywhere, pattern = pattern.startswith("**/"), pattern.removeprefix("**/")
        parts = name.split("/")
        heads = ["/".join(parts[: number + 1]) for number in range(len(parts))]
        if any(fnmatch.fnmatchcase(head.rsplit("/", 1)[-1] if anywhere else head, pattern) for head in heads):
            kept = negated
    return kept


def tracked_files() -> list[str]:
    """Files of the repository: tracked, or new and not ignored."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    printed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    return [name for name in printed.splitlines() if (REPOSITORY / name).is_file()]


def shell_text(path: Path) -> str:
    """The shell lines of a file: indented blocks and code spans of Markdown; elsewhere what is no comment, and examples in
    comments, which are indented there.
    """
    text = path.read_text()
    if path.suffix == ".md":
        return "\n".join([*re.findall(r"(?m)^    (.*)$", text), *re.findall(r"`([^`\n]+)`", text)])
    lines = (re.sub(r"^#\s{3,}", "", line) for line in text.splitlines())
    return "\n".join(line for line in lines if not line.startswith("#"))


def edgeexport_calls(text: str) -> list[list[str]]:
    """Arguments of every call of edgeexport in shell lines: by its name, its path, or as a container."""
    found = []
    joined = re.sub(r"\\\n\s*", " ", text)
    for line in joined.splitlines():
        try:
            words = shlex.split(line, comments=True)
        except ValueError:
            continue  # a sentence with an apostrophe
        for place, word in enumerate(words[:-1]):
            called = word in ("edgeexport", "edgeexport:jetson", "$edgeexport") or word.endswith("/bin/edgeexport")
            if called and re.fullmatch(r"[a-z]+", words[place + 1]):
                rest = words[place + 1 :]
                ends = [rest.index(sign) for sign in ("|", "||", "&&", ";", ">") if sign in rest]
                found.append(rest[: min(ends, default=len(rest))])
    return found


def unknown_parts(call: list[str]) -> list[str]:
    """What of a call the command line does not have: the command, or options."""
    from edgeexport.cli.app import app

    command = typer.main.get_command(app)
    rest = list(call)
    while rest and hasattr(command, "commands"):
        if rest[0] not in command.commands:
            return [rest[0]]
        command = command.commands[rest.pop(0)]
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    return [word for word in rest if word.startswith("--") and word != "--" and word.partition("=")[0] not in known]

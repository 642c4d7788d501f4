"""Every line of README, docs/ and the other pages that calls edgeexport is one that the command line takes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from jetson_files import edgeexport_calls
from parsed_calls import parse_call

from edgeexport.errors import UsageError

REPOSITORY = Path(__file__).resolve().parents[1]
PAGES = sorted(
    [
        *REPOSITORY.glob("*.md"),
        *(REPOSITORY / "docs").glob("*.md"),
        *(REPOSITORY / "examples").rglob("*.md"),
        *(REPOSITORY / "jetson").glob("*.md"),
        *(REPOSITORY / "plugins").glob("*.md"),
    ]
)
FENCED = re.compile(r"(?ms)^```(\w*)\n(.*?)^```$")


def calls_of(text: str) -> list[list[str]]:
    """What stands in blocks: indented, or fenced as a shell's; not what a sentence names."""
    shell = [body for language, body in FENCED.findall(text) if language in ("", "bash", "sh", "console")]
    indented = re.findall(r"(?m)^    (.*)$", FENCED.sub("", text))
    return [[word for word in call if word != "..."] for call in edgeexport_calls("\n".join([*indented, *shell]))]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_every_line_is_taken(path: Path) -> None:
    for call in calls_of(path.read_text(encoding="utf-8")):
        try:
            parse_call(call)
        except UsageError as error:
            pytest.fail(f"edgeexport {' '.join(call)}: {error}")


def test_there_are_lines_to_hold() -> None:
    calls = {path.name: len(calls_of(path.read_text(encoding="utf-8"))) for path in PAGES}
    assert calls["README.md"] >= 10 or sum(calls.values()) >= 60
    assert all(calls[name] for name in ("build.md", "on-device.md", "use.md", "plugins.md"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("    edgeexport build r.py --traget orin\n", "did you mean '--target'"),
        ("```bash\nedgeexport biuld r.py\n```\n", "did you mean 'build'"),
        ("    edgeexport evaluate BUNDLE   # without --data\n", "--data | is missing"),
        ("    edgeexport profile BUNDLE --duration soon\n", "--duration"),
    ],
)
def test_a_line_that_is_not_taken_is_found(text: str, told: str) -> None:
    (call,) = calls_of(text)
    with pytest.raises(UsageError, match=re.escape(told)):
        parse_call(call)

"""README.md and the pages of docs/: short, no dead links, no unused pictures, and built offline without a warning."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import unicodedata
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from jetson_files import edgeexport_calls, shell_text, unknown_parts

REPOSITORY = Path(__file__).resolve().parents[1]
README = REPOSITORY / "README.md"
PAGES = sorted((REPOSITORY / "docs").glob("*.md"))
LINKED = [README, *PAGES, *(REPOSITORY / name for name in ("CONTRIBUTING.md", "jetson/README.md", "plugins/README.md"))]
PICTURES = {".png", ".jpg", ".svg", ".gif", ".webp"}


def name_of(path: Path) -> str:
    return str(path.relative_to(REPOSITORY))


def prose(path: Path) -> str:
    """A document without its code, whose brackets are no links."""
    text = re.sub(r"(?ms)^```.*?^```$", "", path.read_text(encoding="utf-8"))
    text = re.sub(r"(?m)^    .*$", "", text)
    return re.sub(r"`[^`\n]+`", "", text)


def links(path: Path) -> list[str]:
    """Targets of all links and pictures, those within the page included."""
    return re.findall(r"\]\(([^)\s]+)\)", prose(path))


def anchors(path: Path) -> set[str]:
    """What the headings of a page are called in links."""
    text = re.sub(r"(?ms)^```.*?^```$", "", path.read_text(encoding="utf-8"))
    found = set()
    for heading in re.findall(r"(?m)^#+ (.+)$", text):
        plain = unicodedata.normalize("NFKD", heading.replace("`", "")).encode("ascii", "ignore").decode()
        found.add(re.sub(r"[^\w\s-]", "", plain).strip().lower().replace(" ", "-"))
    return found


def test_the_readme_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 200


@pytest.mark.parametrize("path", LINKED, ids=name_of)
def test_links_and_pictures_exist(path: Path) -> None:
    for link in links(path):
        if re.match(r"[a-z]+:", link):
            assert link.startswith("https://"), link
            continue
        target, _, anchor = unquote(link).partition("#")
        file = (path.parent / target).resolve() if target else path
        assert file.is_relative_to(REPOSITORY) and file.exists(), link
        assert not anchor or anchor in anchors(file), link


def test_every_picture_is_used() -> None:
    used = {(page.parent / link).resolve() for page in [README, *PAGES] for link in links(page) if ":" not in link}
    pictures = {path for path in (REPOSITORY / "docs").rglob("*") if path.suffix in PICTURES}
    assert pictures and not pictures - used, sorted(map(name_of, pictures - used))


@pytest.mark.parametrize("path", [README, *PAGES], ids=name_of)
def test_commands_exist(path: Path) -> None:
    text = shell_text(path)
    for call in edgeexport_calls(text):
        assert not unknown_parts(call), call
    makefile = (REPOSITORY / "Makefile").read_text()
    for target in re.findall(r"(?m)^make ([\w-]+)", text):
        assert f"\n{target}:" in makefile, target
    benchmarks = (REPOSITORY / "benchmarks" / "__main__.py").read_text()
    for part in re.findall(r"python -m benchmarks ([\w-]+)", text):
        assert f'"{part}"' in benchmarks, part
    for module in re.findall(r"python -m ((?:examples|benchmarks)[\w.]*)", text):
        file = REPOSITORY / module.replace(".", "/")
        assert file.with_suffix(".py").is_file() or (file / "__main__.py").is_file(), module


def test_the_readme_shows_the_way_and_activates_the_environment_first() -> None:
    lines = re.findall(r"(?m)^    (.*)$", README.read_text(encoding="utf-8"))
    called = [call[0] for call in edgeexport_calls("\n".join(lines))]
    assert {"build", "verify", "run", "profile"} <= set(called)
    first = next(place for place, line in enumerate(lines) if line.startswith("edgeexport "))
    assert ". .venv/bin/activate" in lines[:first]


def test_the_documents_say_that_nothing_ran_on_a_jetson() -> None:
    for name in ("README.md", "docs/index.md", "docs/on-device.md"):
        assert "No Jetson has been used yet" in (REPOSITORY / name).read_text(encoding="utf-8"), name
    assert "**Nothing has run on a Jetson**" in (REPOSITORY / "docs" / "what-has-run.md").read_text(encoding="utf-8")


class Fetched(HTMLParser):
    """What a browser would fetch to show a page."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        if tag == "link" and named.get("rel") in ("canonical", "prev", "next"):
            return
        attribute = "href" if tag == "link" else "src"
        if tag != "a" and named.get(attribute):
            self.addresses.append(str(named[attribute]))


def test_the_pages_build_without_a_warning_and_fetch_nothing(tmp_path: Path) -> None:
    if importlib.util.find_spec("mkdocs") is None or importlib.util.find_spec("material") is None:
        reason = "mkdocs-material is not installed: pip install 'edgeexport[docs]'"
        assert os.environ.get("EDGEEXPORT_REQUIRE_ALL") != "1", reason
        pytest.skip(reason)
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, env=environment)
    said = done.stdout + done.stderr
    assert done.returncode == 0 and not re.search("warning|error", said, re.IGNORECASE), said
    built = {path.name for path in (tmp_path / "site").glob("*.html")}
    assert built >= {page.with_suffix(".html").name for page in PAGES}
    for path in (tmp_path / "site").rglob("*.html"):
        page = Fetched()
        page.feed(path.read_text(encoding="utf-8"))
        assert page.addresses
        assert not [address for address in page.addresses if re.match(r"(?:[a-z]+:)?//", address)], path
    for path in (tmp_path / "site").rglob("*.css"):
        assert not re.search(r"(?:@import|url\()\s*[\"']?(?:https?:)?//", path.read_text(encoding="utf-8")), path

"""What an installation contains: recipes, photographs and templates travel in the wheel, and constraints cover extras."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import tomllib

REPOSITORY = Path(__file__).resolve().parents[1]


def test_wheel_carries_recipes_and_data(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", str(tmp_path), str(REPOSITORY)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(tmp_path / "site")
    for recipe in (REPOSITORY / "recipes").glob("*.py"):
        assert f"edgeexport/recipes/{recipe.name}" in names
    assert "edgeexport/recipes/scenes.safetensors" in names
    for photo in (REPOSITORY / "edgeexport" / "assets").iterdir():
        assert f"edgeexport/assets/{photo.name}" in names
    assert "edgeexport/report/report.html.j2" in names
    assert "edgeexport/plugins_src/token_match/token_match.cuh" in names
    assert "edgeexport/plugins_src/CMakeLists.txt" in names
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/", "examples/"))]
    (information,) = (tmp_path / "site").glob("edgeexport-*.dist-info")
    for name in ("LICENSE", "NOTICE"):
        assert (information / "licenses" / name).read_bytes() == (REPOSITORY / name).read_bytes()
    assert "\nLicense-Expression: Apache-2.0\n" in (information / "METADATA").read_text(encoding="utf-8")
    # The extracted wheel stands in for an installation: no source checkout beside it.
    code = "from edgeexport.recipe import load_recipe; print(load_recipe('segvit_ti_cts_dtop.py').path)"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r}); {code}"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert Path(done.stdout.strip()) == tmp_path / "site" / "edgeexport" / "recipes" / "segvit_ti_cts_dtop.py"


def test_constraints_pin_every_requirement() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = {
        re.split(r"[<>=;\[ ]", requirement)[0].lower().replace("_", "-")
        for requirement in [
            *project["dependencies"],
            *extras["export"],
            *extras["dev"],
            *extras["docs"],
            *extras["cpu"],
        ]
    }
    pinned = {
        line.split("==")[0].lower().replace("_", "-")
        for line in (REPOSITORY / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    assert wanted <= pinned, wanted - pinned

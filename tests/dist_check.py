"""`make dist`: wheel and source archive, each installed in new environments of the devices' Pythons, where a bundle runs.

python tests/dist_check.py [--out dist] [--python 3.10 --python 3.12]

Needs a package index, and those Pythons on PATH or of pyenv; one that is missing is an error, not a pass.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from interpreters import found_interpreter
from shared_cases import TINY_RECIPE

__all__ = ["PYTHONS", "built_archives", "check_archives"]

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.10", "3.12")
PHOTO = ROOT / "edgeexport" / "assets" / "coffee.jpg"
IN_SDIST = ("recipes/segvit_cts_dtop.py", "plugins/CMakeLists.txt", "jetson/quickstart.sh", "LICENSE", "docs/use.md")


def built_archives(out: Path) -> list[Path]:
    """The wheel and the source archive of this checkout, in ``out``, which holds nothing else of edgeexport afterwards."""
    for old in [*out.glob("edgeexport-*.whl"), *out.glob("edgeexport-*.tar.gz")]:
        old.unlink()
    _run([sys.executable, "-m", "hatchling", "build", "--directory", str(out)], cwd=ROOT)
    found = [*out.glob("edgeexport-*.whl"), *out.glob("edgeexport-*.tar.gz")]
    assert len(found) == 2, found
    names = _run(["tar", "-tzf", str(found[1])]).splitlines()
    missing = [name for name in IN_SDIST if not any(item.endswith(f"/{name}") for item in names)]
    assert not missing, f"not in {found[1].name}: {missing}"
    return found


def check_archives(
    archives: Sequence[Path], bundle: Path, pythons: Sequence[str] = PYTHONS, say: Callable[[str], None] = print
) -> None:
    """Installs each archive with the extra ``cpu`` in a new environment of each Python, and runs ``bundle`` there."""
    for version in pythons:
        python = found_interpreter(version)
        if python is None:
            raise SystemExit(f"error: there is no Python {version} with venv on this machine")
        for archive in archives:
            with tempfile.TemporaryDirectory() as folder:
                told = _checked(Path(folder), python, archive, bundle)
            say(f"{archive.name} on Python {version}: edgeexport {told} installed, a bundle built, verified and run")


def _checked(folder: Path, python: str, archive: Path, bundle: Path) -> str:
    _run([python, "-m", "venv", str(folder / "v")])
    binaries = folder / "v" / "bin"
    constraints = ROOT / "jetson" / "constraints.txt"
    _run([str(binaries / "pip"), "install", "--quiet", "--constraint", str(constraints), f"{archive.resolve()}[cpu]"])
    shutil.copytree(bundle, folder / "b")
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    variables["XDG_CACHE_HOME"] = str(folder / "cache")

    def call(*words: str) -> str:
        return _run([str(binaries / "edgeexport"), *words], cwd=folder, env=variables)

    version = call("--version").strip()
    call("build", "b", "--target", "cpu")
    verified = json.loads(call("verify", "b", "--json"))
    failed = [item for item in verified["comparisons"] if item["status"] != "passed"]
    assert verified["comparisons"] and not failed, failed
    (image,) = json.loads(call("run", "b", str(PHOTO), "--json"))["images"]
    assert (folder / image["overlay"]).is_file()
    return version


def _run(command: Sequence[str], **options: object) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]
    if done.returncode:
        raise SystemExit(f"error: {' '.join(command)}\n{done.stdout}{done.stderr}")
    return str(done.stdout)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    parser.add_argument("--python", action="append", default=[])
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    archives = built_archives(asked.out)
    print("built " + ", ".join(path.name for path in archives), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        recipe = Path(folder) / "tiny.py"
        recipe.write_text(TINY_RECIPE, encoding="utf-8")
        bundle = Path(folder) / "bundle"
        command = [
            sys.executable,
            "-m",
            "edgeexport",
            "build",
            str(recipe),
            "--target",
            "cpu",
            "--work-dir",
            str(bundle),
        ]
        _run(command, cwd=ROOT)
        check_archives(archives, bundle, tuple(asked.python) or PYTHONS, lambda text: print(text, flush=True))


if __name__ == "__main__":
    main()

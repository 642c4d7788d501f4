"""Bundles and engines that are damaged, from elsewhere or badly placed, as the command line meets them.

Every refusal is one line that says where, what was found against what was expected, and the remedy.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from engine_cases import IMAGE, OTHER_MODEL, changed_json, write_engine_bundle
from shared_cases import CommandResult

from edgeexport.backends.engine import build_engine, load_engine
from edgeexport.bundle import Bundle, open_bundle
from edgeexport.plugin.trust import remember_made_here

ROOT = Path(__file__).resolve().parents[2]
COMMAND_LINE = "from edgeexport.cli import main\nmain()"
# Builds an engine, and tells on standard output when the file is written; goes on at a line on standard input.
BUILD_IN_STEPS = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a parent in the background may have had ignored
import edgeexport.backends.onnxruntime_engine as module
real = module.OnnxRuntimeRunner
def in_steps(*arguments, **keywords):
    made = real(*arguments, **keywords)
    print("written", flush=True)
    sys.stdin.readline()
    return made
module.OnnxRuntimeRunner = in_steps
from edgeexport.cli import main
main()
"""

Call = Callable[..., CommandResult]


@pytest.fixture
def built(tmp_path: Path) -> Bundle:
    bundle = write_engine_bundle(tmp_path / "b")
    build_engine(bundle.path)
    np.savez(bundle.path / "golden.npz", **{"case0/image": IMAGE})  # what `profile` feeds
    return bundle


def told(done: CommandResult, code: int, *parts: str) -> None:
    """The command ended with ``code`` and one line of where | problem | remedy that holds all ``parts``."""
    lines = [line for line in done.err.splitlines() if not line.startswith("... ")]
    assert (done.code, len(lines), done.out) == (code, 1, ""), done.err
    assert lines[0].startswith("error: ") and lines[0].count(" | ") == 2
    for part in parts:
        assert part in lines[0]


def in_process(code: str, *arguments: object, **keywords: object) -> subprocess.Popen[str]:
    """Python in a process of its own, with pipes."""
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join([*map(str, keywords.pop("path", ())), str(ROOT)])}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, text=True, env=variables, **pipes, **keywords)  # type: ignore[call-overload]


def ended(process: subprocess.Popen[str]) -> CommandResult:
    out, err = process.communicate(timeout=120)
    return CommandResult(process.returncode, out, err)


def truncated(path: Path, size: int = 100) -> None:
    path.write_bytes(path.read_bytes()[:size])


# --- Bundles ---


def changed(bundle: Path) -> None:
    (bundle / "model.onnx").write_bytes(OTHER_MODEL)


def missing(bundle: Path) -> None:
    (bundle / "model.onnx").unlink()


def newer(bundle: Path) -> None:
    changed_json(bundle / "manifest.json", schema="edgeexport.bundle/2")


def half_a_manifest(bundle: Path) -> None:
    truncated(bundle / "manifest.json")


def no_target(bundle: Path) -> None:
    changed_json(bundle / "manifest.json", target=...)


def no_outputs(bundle: Path) -> None:
    changed_json(bundle / "manifest.json", outputs=...)


BUNDLES = {
    changed: (
        "model.onnx | was changed after the build: sha256 ",
        "..., the manifest says ",
        "copy or build the bundle",
    ),
    missing: ("model.onnx | is missing from the bundle | copy or build the bundle again",),
    newer: ("schema 'edgeexport.bundle/2', this edgeexport reads 'edgeexport.bundle/1' | build the bundle again",),
    half_a_manifest: ("manifest.json | cannot be read (", "| copy or build the bundle again"),
}


@pytest.mark.parametrize("command", ["build", "verify", "profile", "run", "inspect", "compare"])
@pytest.mark.parametrize("damage", BUNDLES)
def test_damaged_bundle(command: str, damage: Callable[[Path], None], built: Bundle, edgeexport: Call) -> None:
    damage(built.path)
    more = {"run": [ROOT / "edgeexport" / "assets" / "coffee.jpg"], "compare": [built.path]}
    told(edgeexport(command, built.path, *more.get(command, [])), 9, *BUNDLES[damage])


@pytest.mark.parametrize(
    ("damage", "command", "part"),
    [
        (no_target, "build", "target"),
        (no_target, "inspect", "description"),
        (no_outputs, "build", "outputs"),
        (no_outputs, "verify", "outputs"),
        (no_outputs, "profile", "outputs"),
    ],
)
def test_manifest_that_lacks_an_entry(
    damage: Callable[[Path], None], command: str, part: str, built: Bundle, edgeexport: Call
) -> None:
    damage(built.path)
    told(edgeexport(command, built.path), 9, f"manifest.json | lacks {part} | copy or build the bundle again")


def test_bundle_for_another_target(tmp_path: Path, edgeexport: Call) -> None:
    bundle = write_engine_bundle(tmp_path / "b", target="orin").path
    told(edgeexport("build", bundle), 9, "was built for orin, this machine is ", "expected a Jetson", "--target cpu")
    told(edgeexport("build", bundle, "--target", "thor"), 9, "was built for orin, asked for thor", "--target thor")
    assert sorted(path.name for path in bundle.iterdir()) == ["manifest.json", "model.onnx"]


# --- Engines ---


def other_version(bundle: Path) -> None:
    changed_json(bundle / "engine.json", backend_version="1.2.3")


def other_device(bundle: Path) -> None:
    device = {"name": "Cortex-A78AE", "machine": "aarch64", "compute_capability": None}
    changed_json(bundle / "engine.json", device=device)


def other_graph(bundle: Path) -> None:
    changed_json(bundle / "engine.json", graph_sha256="ab" * 32)


def other_backend(bundle: Path) -> None:
    changed_json(bundle / "engine.json", backend="openvino")


def changed_engine(bundle: Path) -> None:
    content = bytearray((bundle / "engine.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / "engine.onnx").write_bytes(content)


def no_engine(bundle: Path) -> None:
    (bundle / "engine.onnx").unlink()


def half_an_engine(bundle: Path) -> None:
    """Damaged before its hash was taken."""
    truncated(bundle / "engine.onnx", 30)
    digest = hashlib.sha256((bundle / "engine.onnx").read_bytes()).hexdigest()
    changed_json(bundle / "engine.json", files={"engine.onnx": digest})
    remember_made_here({"engine.onnx": digest})


def half_a_record(bundle: Path) -> None:
    truncated(bundle / "engine.json")


def binary_record(bundle: Path) -> None:
    (bundle / "engine.json").write_bytes(b"\xff\xfe\0")


def record_of_nothing(bundle: Path) -> None:
    (bundle / "engine.json").write_text("[]")


def newer_record(bundle: Path) -> None:
    changed_json(bundle / "engine.json", schema="edgeexport.engine/2")


ENGINES = {
    other_version: (f"the engine was built with ONNX Runtime 1.2.3, found {onnxruntime.__version__} |",),
    other_device: ("the engine was built on Cortex-A78AE (aarch64), found ",),
    other_graph: ("the engine was built from model.onnx of sha256 " + "ab" * 32 + ", found ",),
    other_backend: ("the engine is for the backend 'openvino', expected one of onnxruntime",),
    changed_engine: ("engine.onnx | was changed after the build: sha256 ", "..., engine.json says "),
    no_engine: ("engine.onnx | is missing, engine.json lists it |",),
    half_an_engine: (f"engine.onnx | ONNX Runtime {onnxruntime.__version__} refuses the graph: ",),
    half_a_record: ("engine.json | cannot be read (", "build the engine again: edgeexport build "),
    binary_record: ("engine.json | cannot be read (", "build the engine again: edgeexport build "),
    record_of_nothing: ("engine.json | schema None, this edgeexport reads 'edgeexport.engine/1' |",),
    newer_record: (
        "schema 'edgeexport.engine/2', this edgeexport reads 'edgeexport.engine/1' | build the engine again",
    ),
}


@pytest.mark.parametrize("command", ["verify", "profile"])
@pytest.mark.parametrize("damage", ENGINES)
def test_engine_that_does_not_fit(
    command: str, damage: Callable[[Path], None], built: Bundle, edgeexport: Call
) -> None:
    damage(built.path)
    told(edgeexport(command, built.path), 9, *ENGINES[damage], "build", "; or --engine none runs model.onnx")


@pytest.mark.parametrize("damage", ENGINES)
def test_building_again_is_a_remedy(damage: Callable[[Path], None], built: Bundle, edgeexport: Call) -> None:
    damage(built.path)
    assert edgeexport("build", built.path, "--json").code == 0
    np.testing.assert_array_equal(load_engine(open_bundle(built.path)).run(IMAGE)["best"].ravel(), [1, 0])


# --- The runtime ---


@pytest.mark.parametrize("command", ["build", "verify", "profile"])
def test_no_onnxruntime(command: str, built: Bundle) -> None:
    hidden = "import sys\nsys.modules['onnxruntime'] = None\n"
    done = ended(in_process(hidden + COMMAND_LINE, command, built.path))
    told(done, 2, "onnxruntime | is not installed | pip install 'edgeexport[cpu]'")


@pytest.mark.parametrize("error", ["ImportError", "OSError", "ModuleNotFoundError"])
def test_onnxruntime_that_does_not_load(error: str, built: Bundle, tmp_path: Path) -> None:
    """It is there: to install it, as one that is missing, would change nothing."""
    package = tmp_path / "site" / "onnxruntime"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(f"raise {error}('libexample.so: no such file')\n")
    for command in ("build", "verify"):
        done = ended(in_process(COMMAND_LINE, command, built.path, path=[tmp_path / "site"]))
        told(done, 2, "onnxruntime | is installed but does not load: libexample.so: no such file", "--force-reinstall")


# --- The disk ---


def in_own_mounts(script: str, bundle: Path, folder: Path) -> CommandResult:
    """Runs shell lines where mounts are seen by nobody else and go with the process; $1 is the bundle, $2 a new folder."""
    folder.mkdir()
    code = f'edgeexport() {{ {sys.executable} -m edgeexport "$@"; }}\nset -u\n{script}'
    command = ["unshare", "--map-root-user", "--mount", "bash", "-c", code, "bash", str(bundle), str(folder)]
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    try:
        done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("unshare is not on this machine")
    if "unshare:" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"no mounts of one's own here: {done.stderr.strip()}")
    return CommandResult(done.returncode, done.stdout, done.stderr)


def test_full_disk(tmp_path: Path) -> None:
    """ONNX Runtime itself says of a full disk that the graph cannot be serialized."""
    bundle = write_engine_bundle(tmp_path / "b")
    build_engine(bundle.path)
    script = """
        mount -t tmpfs -o size=64k tmpfs "$2" && cp -r "$1" "$2/b" || exit 90
        sha256sum "$2"/b/engine.* > "$2/before"
        dd if=/dev/zero of="$2/rest" bs=1k 2> /dev/null
        edgeexport build "$2/b"; code=$?
        sha256sum --quiet --check "$2/before" && ls -A "$2/b" | grep partial
        exit $code
    """
    told(in_own_mounts(script, bundle.path, tmp_path / "full"), 5, "the disk is full | free some space and build")


def test_largest_file_that_is_allowed(built: Bundle) -> None:
    limited = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
    done = ended(in_process(limited + COMMAND_LINE, "build", built.path))
    told(done, 5, "b | cannot be written: File too large | ")
    load_engine(built)


def test_folder_that_cannot_be_written(built: Bundle, tmp_path: Path) -> None:
    script = """
        mount --bind "$1" "$2" && mount -o remount,ro,bind "$2" || exit 90
        edgeexport build "$2"
    """
    done = in_own_mounts(script, built.path, tmp_path / "read-only")
    told(done, 5, "cannot be written: Read-only file system | make the bundle folder writable")
    load_engine(built)


# --- Builds that are cut short, and two at once ---


@contextmanager
def build_until_written(bundle: Bundle) -> Iterator[subprocess.Popen[str]]:
    """A build in a process of its own, halted when the engine is written and not yet in its place."""
    process = in_process(BUILD_IN_STEPS, "build", bundle.path, "--threads", 2, "--json")
    try:
        assert process.stdout is not None and process.stdout.readline() == "written\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def remains(bundle: Bundle) -> list[str]:
    return [path.name for path in bundle.path.iterdir() if "partial" in path.name]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_stopped_build_leaves_the_old_engine(built: Bundle, number: signal.Signals) -> None:
    before = {name: (built.path / name).read_bytes() for name in ("engine.onnx", "engine.json")}
    with build_until_written(built) as process:
        assert len(remains(built)) == 1
        process.send_signal(number)
        done = ended(process)
    assert done.code == {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}[number]
    if number != signal.SIGKILL:
        assert done.err.splitlines()[-1] == "interrupted; an existing engine stays as it was"
        assert not remains(built)
    assert {name: (built.path / name).read_bytes() for name in before} == before
    load_engine(built)
    build_engine(built.path)
    assert not remains(built)  # the next build clears what a killed one left


def test_second_build_is_refused(built: Bundle, edgeexport: Call) -> None:
    with build_until_written(built) as process:
        told(edgeexport("build", built.path), 5, "is being built by another process | wait for it, then build again")
        assert len(remains(built)) == 1
        load_engine(built)  # the old one serves meanwhile
        done = CommandResult(0, *process.communicate("go on\n", timeout=120))
    assert process.returncode == 0
    assert json.loads(done.out)["engine"]["options"]["threads"] == 2
    load_engine(built)
    assert edgeexport("build", built.path).code == 0 and not remains(built)

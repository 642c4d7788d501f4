"""`--host ssh://...`: engines built, verified and profiled on a real sshd's side, and everything that can go wrong there."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from engine_cases import OTHER_MODEL, write_engine_bundle
from measured_cases import bench
from shared_cases import TINY_RECIPE, CommandResult
from ssh_device import REPOSITORY, SshDevice, ssh_device, wait_for

from edgeexport import __version__
from edgeexport.backends.engine import build_engine, engine_record, load_engine, runner_from_bundle
from edgeexport.bundle import Bundle, open_bundle
from edgeexport.commands.verify import VerifyResult
from edgeexport.errors import BundleError, DeviceError, EdgeExportError
from edgeexport.profile.protocol import TimingRequest
from edgeexport.remote.commands import Device, remote_build, remote_profile, remote_verify
from edgeexport.remote.edgeexport import version_facts
from edgeexport.verify.compare import Comparison

Command = Callable[..., CommandResult]
QUICK = ("--warmUp", "1", "--duration", "0.05", "--allow-unstable")


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SshDevice]:
    with ssh_device(tmp_path / "device", monkeypatch) as started:
        yield started


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """Two files and no more: enough for an engine, not for verify and profile."""
    return write_engine_bundle(tmp_path / "b")


def failed(done: CommandResult, code: int) -> str:
    """The one line of an error."""
    assert done.code == code, done.err
    assert done.out == ""
    line = done.err.strip().splitlines()[-1]
    assert line.startswith("error: ") and line.count(" | ") >= 2
    return line


def folder_there(device: SshDevice, bundle: Path) -> Path:
    """Where a bundle went."""
    [found] = device.cache.glob(f"*/{bundle.name}")
    return found


# --- What works ---


def test_build_verify_and_profile(device: SshDevice, tmp_path: Path, edgeexport: Command) -> None:
    """From a recipe: exported here, everything else there, where torch is not installed."""
    device.install(asks_itself=True)
    (tmp_path / "tiny.py").write_text(TINY_RECIPE)
    ours = tmp_path / "segvit-cpu-fp32"
    host = ("--host", device.url, "--json")

    words = ("build", tmp_path / "tiny.py", "--target", "cpu", "--work-dir", ours, "--threads", "1")
    done = edgeexport(*words, *host)
    assert done.code == 0, done.err
    document, record = json.loads(done.out), json.loads((ours / "engine.json").read_text())
    assert (document["bundle"], document["engine"], document["no_engine"]) == (str(ours), record, "")
    assert record["provenance"] == f"built on ssh://{device.host.place}"
    assert (record["target"], record["options"]["threads"]) == ("cpu", 1)
    assert not (ours / "engine.onnx").exists() and (folder_there(device, ours) / "engine.onnx").is_file()
    stages = done.err.splitlines()
    assert any(line.startswith("... ") and line.endswith(": torch's exporter") for line in stages)
    for stage in ("connect", "compare ", "send model.onnx, ", "check the bundle", "bring back"):
        assert any(line.startswith(f"... {device.host.place}: {stage}") for line in stages), stage
    assert "check the bundle" in (ours / "remote-build.log").read_text()

    done = edgeexport("verify", ours, *host)
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found == json.loads((ours / "verify.json").read_text())
    assert found["runner"].startswith("onnxruntime engine") and "torch" in found["original_not_run"]
    assert {item["status"] for item in found["comparisons"]} == {"passed"}
    assert f"... {device.host.place}: 0 of " in done.err

    done = edgeexport("profile", ours, "--baseline", ours, *QUICK, "--percentile", "75", "--host", device.url)
    assert done.code == 0 and "measured, milliseconds" in done.out, done.err
    bench = json.loads((ours / "bench.json").read_text())
    assert bench["engine"] == "engine.onnx" and bench["protocol"]["warmup_ms"] == 1.0
    assert bench["bundle"]["folder"] == bench["baseline"]["bundle"]["folder"] == ours.name
    assert "p75" in bench["rows"]["compute"] and (ours / "engine.profile.json").is_file()
    assert device.host.place in (ours / "report.html").read_text()  # the page has the device's engine

    # This machine does not take the device's engine for its own.
    assert runner_from_bundle(open_bundle(ours)).name == "onnxruntime"


def test_device_is_asked_before_anything_is_exported(device: SshDevice, tmp_path: Path, edgeexport: Command) -> None:
    (tmp_path / "tiny.py").write_text(TINY_RECIPE)
    words = ("build", tmp_path / "tiny.py", "--target", "cpu", "--work-dir", tmp_path / "bundle", "--host", device.url)
    assert "edgeexport | cannot be run there" in failed(edgeexport(*words), 7)
    device.pretend("exit 1", bundle_schema="edgeexport.bundle/9")
    assert "edgeexport.bundle/9" in failed(edgeexport(*words), 9)
    assert not (tmp_path / "bundle").exists()


def test_failure_after_the_export_names_the_bundle(
    device: SshDevice, bundle: Bundle, monkeypatch: pytest.MonkeyPatch, edgeexport: Command
) -> None:
    from edgeexport.commands import build as pipeline

    def exported(*arguments: object, **options: object) -> pipeline.BuildResult:
        return pipeline.BuildResult(bundle, (), (), {}, 0, None, "built elsewhere")

    monkeypatch.setattr(pipeline, "build", exported)
    device.pretend("kill -9 $$")
    (bundle.path.parent / "tiny.py").write_text(TINY_RECIPE)
    line = failed(edgeexport("build", bundle.path.parent / "tiny.py", "--target", "cpu", "--host", device.url), 7)
    assert "ended there by signal 9" in line
    assert f"the bundle is complete: edgeexport build {bundle.path} --host {device.url}" in line


def test_options_arrive(device: SshDevice, bundle: Bundle, edgeexport: Command) -> None:
    device.pretend(f'for word; do echo "$word"; done > {device.folder}/words; echo "{{}}"; exit 5')
    words = ("--precision", "fp16", "--no-plugins", "--workspace", "512", "--useCudaGraph", "--useDLACore", "1")
    edgeexport("build", bundle.path, "--target", "orin", *words, "--threads", "3", "--host", device.url)
    verb, folder, *options = (device.folder / "words").read_text().splitlines()
    assert (verb, folder) == ("build", str(folder_there(device, bundle.path)))
    assert options[:5] == ["--target=orin", "--precision=fp16", "--workspace=512", "--useDLACore=1", "--threads=3"]
    assert options[5:] == ["--useCudaGraph", "--no-plugins", "--json"]
    edgeexport("build", bundle.path, "--host", device.url)
    assert (device.folder / "words").read_text().splitlines()[2:] == ["--json"]
    edgeexport("verify", bundle.path, "--engine", "none", "--host", device.url)
    assert (device.folder / "words").read_text().splitlines() == ["verify", folder, "--engine=none", "--json"]
    dense = write_engine_bundle(bundle.path.parent / "dense", OTHER_MODEL)
    words = ("--power", "--allow-unstable", "--warmUp", "12.5", "--duration", "0.1", "--iterations", "7")
    edgeexport("profile", bundle.path, *words, "--baseline", dense.path, "--percentile", "99.9,5", "--host", device.url)
    assert (device.folder / "words").read_text().splitlines()[2:] == [
        *(
            "--engine=auto",
            "--warmUp=12.5",
            "--duration=0.1",
            "--iterations=7",
            "--percentile=99.9",
            "--percentile=5.0",
        ),
        f"--baseline={folder_there(device, dense.path)}",
        *("--power", "--allow-unstable", "--json"),
    ]


def test_command_of_a_virtual_environment(device: SshDevice, bundle: Bundle, edgeexport: Command) -> None:
    (device.bin / "my venv").mkdir()
    program = device.install("my venv/o'brien's edgeexport")
    command = f"env A=b {shlex.quote(str(program))}"
    done = edgeexport("build", bundle.path, "--host", device.url, "--remote-command", command)
    assert done.code == 0, done.err


def test_results_replace_those_of_another_run(device: SshDevice, bundle: Bundle) -> None:
    """Of the last one only: no power.csv of a run with --power stays beside the bench.json of one without."""
    told = shlex.quote(json.dumps(bench()))
    write = f'cd "$2"; echo {told} > bench.json; '
    device.pretend(f"{write} echo watts > power.csv; echo {told}")
    remote_profile(bundle.path, TimingRequest(), Device(device.host), power=True)
    assert (bundle.path / "power.csv").read_text() == "watts\n"
    device.pretend(f"{write} rm power.csv; echo {told}")
    remote_profile(bundle.path, TimingRequest(), Device(device.host))
    assert not (bundle.path / "power.csv").exists() and (bundle.path / "bench.json").is_file()


def test_engine_built_here_outlives_results_of_a_device(device: SshDevice, bundle: Bundle) -> None:
    device.install()
    build_engine(bundle.path)
    here = (bundle.path / "engine.json").read_bytes()
    with pytest.raises(EdgeExportError):  # this bundle has no golden outputs
        remote_verify(bundle.path, Device(device.host))
    told = shlex.quote(json.dumps(bench()))
    there = shlex.quote(json.dumps({**json.loads(here), "build_seconds": 1.0}))
    device.pretend(f'cd "$2"; echo {told} > bench.json; echo {there} > engine.json; echo {told}')
    remote_profile(bundle.path, TimingRequest(), Device(device.host))
    assert (bundle.path / "engine.json").read_bytes() == here
    load_engine(bundle)
    (bundle.path / "engine.json").unlink()
    remote_profile(bundle.path, TimingRequest(), Device(device.host))
    record = engine_record(bundle)
    assert record is not None and record.provenance == f"built on ssh://{device.host.place}"


def test_engine_of_a_device_takes_the_place_of_one_built_here(
    device: SshDevice, tmp_path: Path, edgeexport: Command
) -> None:
    device.install()
    bundle = write_engine_bundle(tmp_path / "b", target="orin")
    build_engine(bundle.path, target="cpu")
    assert (bundle.path / "engine.onnx").is_file()
    done = edgeexport("build", bundle.path, "--target", "cpu", "--threads", "1", "--host", device.url, "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out) == {
        "bundle": str(bundle.path),
        "engine": json.loads((bundle.path / "engine.json").read_text()),
    }
    record = engine_record(bundle)
    assert record is not None and (record.target, record.options["threads"]) == ("cpu", 1)
    assert not (bundle.path / "engine.onnx").exists()


# --- What goes wrong ---


@pytest.mark.parametrize(
    ("told", "found"),
    [
        ({"edgeexport": "9.1.0"}, "has edgeexport 9.1.0 with version 9.1, this one has "),
        (
            {"bundle_schema": "edgeexport.bundle/2"},
            "bundle_schema edgeexport.bundle/2, this one has edgeexport.bundle/1",
        ),
        (
            {"engine_schema": "edgeexport.engine/2"},
            "engine_schema edgeexport.engine/2, this one has edgeexport.engine/1",
        ),
    ],
)
def test_incompatible_edgeexport(
    device: SshDevice, bundle: Bundle, edgeexport: Command, told: dict[str, str], found: str
) -> None:
    device.pretend("exit 1", **told)
    line = failed(edgeexport("build", bundle.path, "--host", device.url), 9)
    assert found in line and f"install edgeexport {__version__} there" in line
    assert not any(device.cache.iterdir())


def test_later_patch_version_is_compatible(device: SshDevice, bundle: Bundle) -> None:
    major, minor, _ = __version__.split(".")
    device.pretend("echo 'error: a | b | c' >&2; exit 5", edgeexport=f"{major}.{minor}.99", python="3.10.12")
    with pytest.raises(EdgeExportError, match=r"a \| b \| c"):
        remote_build(bundle.path, Device(device.host))


@pytest.mark.parametrize("script", ["echo 'No such option: --json' >&2; exit 2", "echo '[]'"])
def test_edgeexport_that_does_not_tell_its_version(device: SshDevice, bundle: Bundle, script: str) -> None:
    device.program(script)
    with pytest.raises(BundleError, match=r"version --json` says .* expected edgeexport"):
        remote_build(bundle.path, Device(device.host))


def test_no_edgeexport_there(device: SshDevice, bundle: Bundle, edgeexport: Command) -> None:
    line = failed(edgeexport("verify", bundle.path, "--host", device.url), 7)
    assert f"{device.url}: edgeexport | cannot be run there" in line and "--remote-command" in line


@pytest.mark.parametrize("code", [2, 4, 5, 6, 9])
def test_errors_of_the_device(device: SshDevice, bundle: Bundle, edgeexport: Command, code: int) -> None:
    device.pretend(f'echo "... compiling" >&2; echo "error: $2/x | is 1 | make it 2" >&2; exit {code}')
    done = edgeexport("build", bundle.path, "--host", device.url)
    line = failed(done, code)
    assert line == f"error: {device.url}: {bundle.path}/x | is 1 | make it 2 (on the device: with --host {device.url})"
    assert f"... {device.host.place}: compiling" in done.err
    log = (bundle.path / "remote-build.log").read_text()
    assert "compiling" in log and f"exit code {code}" in log and not (bundle.path / "engine.json").exists()


@pytest.mark.parametrize(
    ("script", "code", "found"),
    [
        ("echo Traceback >&2; echo 'ValueError: x' >&2; exit 1", 7, "failed there with exit code 1 (ValueError: x)"),
        ("echo '│ No such option: --x │' >&2; exit 2", 2, "failed there with exit code 2 (No such option: --x)"),
        ("kill -9 $$", 7, "ended there by signal 9; the device may be short of memory"),
        ("echo done", 9, "what edgeexport build printed | cannot be read"),
        ("echo '{}'", 9, "is missing after the build"),
    ],
)
def test_crashes_of_the_device(
    device: SshDevice, bundle: Bundle, edgeexport: Command, script: str, code: int, found: str
) -> None:
    device.pretend(script)
    assert found in failed(edgeexport("build", bundle.path, "--host", device.url), code)


def test_failed_comparison_brings_its_evidence(device: SshDevice, bundle: Bundle, edgeexport: Command) -> None:
    comparison = Comparison("golden outputs", "torch fixed", "onnxruntime", ("x.jpg",), "failed")
    evidence = json.dumps(VerifyResult(bundle, (comparison,), "torch is not installed", "onnxruntime").as_dict())
    device.pretend(
        f"echo {shlex.quote(evidence)} > \"$2/verify.json\"; echo 'error: a | differs | see verify.json' >&2; exit 4"
    )
    failed(edgeexport("verify", bundle.path, "--host", device.url), 4)
    assert (bundle.path / "verify.json").read_text() == f"{evidence}\n"


def test_damaged_engine_there(device: SshDevice, bundle: Bundle, edgeexport: Command) -> None:
    device.install()
    remote_build(bundle.path, Device(device.host))
    with (folder_there(device, bundle.path) / "engine.onnx").open("ab") as stream:
        stream.write(b"\0")
    device_line = failed(edgeexport("verify", bundle.path, "--host", device.url), 9)
    assert "engine.onnx | was changed after the build" in device_line and str(bundle.path) in device_line


def test_damaged_bundle_here(device: SshDevice, bundle: Bundle, edgeexport: Command) -> None:
    (bundle.path / "model.onnx").write_bytes(b"")
    assert "was changed after the build" in failed(edgeexport("build", bundle.path, "--host", device.url), 9)
    assert device.wire.sent == 0


def test_bundle_for_another_machine(device: SshDevice, tmp_path: Path, edgeexport: Command) -> None:
    device.install()
    orin = write_engine_bundle(tmp_path / "orin", target="orin")
    line = failed(edgeexport("build", orin.path, "--host", device.url), 9)
    assert "was built for orin, this machine is" in line and line.startswith(f"error: {device.url}: {orin.path} |")


def test_dropped_while_the_device_works(device: SshDevice, bundle: Bundle) -> None:
    got = device.folder / "got"
    wait = f"trap 'echo stopped > {got}; exit 130' INT; echo '... compiling' >&2; sleep 60 >&- 2>&- & wait"
    device.pretend(wait)

    def on_stage(name: str) -> None:
        if name.endswith("compiling"):
            device.kill_sessions()

    with pytest.raises(DeviceError, match="the connection was dropped") as caught:
        remote_build(bundle.path, Device(device.host), on_stage=on_stage)
    assert caught.value.exit_code == 7 and "it resumes" in caught.value.remedy
    wait_for(got.is_file, "the device hears of it")
    assert engine_record(bundle) is None
    device.install()
    remote_build(bundle.path, Device(device.host))
    assert engine_record(bundle) is not None


def test_interrupted(device: SshDevice, bundle: Bundle) -> None:
    """Ctrl-C: nothing is left behind here, and the device stops."""
    got = device.folder / "got"
    device.pretend(f"trap 'echo stopped > {got}; exit 130' INT; echo '... compiling' >&2; sleep 60 >&- 2>&- & wait")
    process = subprocess.Popen(
        [sys.executable, "-m", "edgeexport", "build", str(bundle.path), "--host", device.url],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "TMPDIR": "/tmp"},
        # A test run in the background ignores SIGINT, and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stderr is not None
    before = set(Path("/tmp").glob("eex*"))
    for line in process.stderr:
        if "compiling" in line:
            process.send_signal(signal.SIGINT)
            break
    rest = process.stderr.read()
    assert process.wait() == 130 and "interrupted; an existing engine stays as it was" in rest
    assert "Traceback" not in rest and got.read_text() == "stopped\n"
    assert set(Path("/tmp").glob("eex*")) <= before


@pytest.mark.parametrize("command", ["build", "verify", "profile"])
def test_addresses_and_options_that_are_refused(bundle: Bundle, edgeexport: Command, command: str) -> None:
    for host in ("orin", "ssh://me:secret@orin", "ssh://-oProxyCommand=x@orin", "ssh://orin/home"):
        assert "secret" not in failed(edgeexport(command, bundle.path, "--host", host), 2)
    assert "needs a device" in failed(edgeexport(command, bundle.path, "--remote-command", "x"), 2)
    line = failed(edgeexport(command, bundle.path, "--host", "ssh://orin", "--remote-command", "'"), 2)
    assert "close the quote" in line


def test_options_without_a_meaning_on_a_device(bundle: Bundle, tmp_path: Path, edgeexport: Command) -> None:
    words = ("--host", "ssh://orin", "--data", tmp_path, "--checkpoint", tmp_path / "x")
    assert "--data, --checkpoint | cannot be given with --host" in failed(edgeexport("verify", bundle.path, *words), 2)
    line = failed(edgeexport("build", "tiny.py", "--target", "orin", "--dry-run", "--host", "ssh://orin"), 2)
    assert "--dry-run | cannot be given with --host" in line


def test_version_for_whoever_sends(edgeexport: Command) -> None:
    assert edgeexport("version").out == f"{__version__}\n"
    found: dict[str, Any] = json.loads(edgeexport("version", "--json").out)
    assert found == version_facts()
    assert found["bundle_schema"] == "edgeexport.bundle/1" and found["engine_schema"] == "edgeexport.engine/1"

"""`edgeexport build|verify|profile BUNDLE --host ssh://...`: the bundle goes to the device, the work is done there, and
what it found comes back into the bundle here.

Runs without torch. What is brought back: engine.json (which says that the engine is on that host, so that nothing here
tries to run it), engine.graph.json, timing.cache, bench.json, engine.profile.json, power.csv, verify.json, and a log. The
engine itself stays on the device.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from edgeexport.backends.contract import EngineOptions
from edgeexport.backends.engine import ENGINE_RECORD, EngineResult
from edgeexport.bundle import Bundle, open_bundle
from edgeexport.commands.verify import VerifyResult
from edgeexport.device.targets import target_named
from edgeexport.documents.answers import ANY_ANSWER, VERIFY_ANSWER, VerifyAnswer
from edgeexport.documents.bench import PROFILE_ANSWER
from edgeexport.errors import BundleError, ParityError
from edgeexport.plugin.build_record import FILE_NAME
from edgeexport.plugin.bundle import FOLDER
from edgeexport.plugin.trust import is_trusted
from edgeexport.profile.bench import BENCH, POWER_CSV, Bench
from edgeexport.profile.earlier_bench import keep_fuller
from edgeexport.profile.layers import PROFILE_FILE
from edgeexport.profile.protocol import TimingRequest
from edgeexport.remote.connection import Connection
from edgeexport.remote.edgeexport import REMOTE_COMMAND, RemoteEdgeexport, command_words
from edgeexport.remote.files import files_of_bundle, folder_of_bundle, send_files
from edgeexport.remote.results import checked, fetch_engine, fetch_results
from edgeexport.remote.ssh import Host
from edgeexport.report.bench_view import bench_view
from edgeexport.report.comparison_view import verify_view
from edgeexport.report.refresh import refresh_report
from edgeexport.verify.compare import Comparison, DecisionDifference, OutputDifference

__all__ = ["Device", "remote_build", "remote_profile", "remote_verify"]

_VERIFY = "verify.json"

OnStage = Callable[[str], None]
Facts = TypeVar("Facts")


def _quiet(name: str) -> None:
    """Hears of stages, and says nothing."""


@dataclass(frozen=True)
class Device:
    """Where the work is done, and how edgeexport is called there (split as a shell does)."""

    host: Host
    command: str = REMOTE_COMMAND

    def check(self, on_stage: OnStage = _quiet) -> None:
        """Connects, and refuses an edgeexport there that does not fit: before minutes of export.

        Raises:
            DeviceError, BundleError, UsageError: As every operation here does.
        """
        with self.session(on_stage):
            pass

    @contextlib.contextmanager
    def session(self, on_stage: OnStage) -> Iterator[RemoteEdgeexport]:
        """An open connection to an edgeexport that fits.

        Raises:
            DeviceError: Unreachable, not allowed in, or no edgeexport there (exit code 7).
            BundleError: An edgeexport of another version (exit code 9).
        """
        words = command_words(self.command)
        on_stage(f"{self.host.place}: connect")
        with Connection(self.host) as connection:
            remote = RemoteEdgeexport(connection, words)
            remote.check()
            yield remote


def remote_build(
    bundle_path: Path,
    device: Device,
    *,
    target: str | None = None,
    options: EngineOptions | None = None,
    on_stage: OnStage = _quiet,
) -> EngineResult:
    """Builds a bundle's engine on a device. The record here takes the place of that of an engine built here.

    Args:
        bundle_path, target, options: As `edgeexport.backends.engine.build_engine` takes them.
        device: Where.
        on_stage: Called with each stage's name as it starts, here and there.

    Raises:
        DeviceError: The device cannot be reached or used, or the connection was dropped (exit code 7).
        BundleError: Damaged bundle; another edgeexport there; a bundle that does not fit that machine (exit code 9).
        UsageError, BuildError: As `build_engine` does there.
    """
    bundle = open_bundle(bundle_path)
    target_named(target or str(bundle.manifest["target"]))
    asked = options or EngineOptions()
    with device.session(on_stage) as remote:
        folder = _sent(remote, bundle, on_stage)
        arguments = ["build", folder, *_trust_arguments(bundle), *_engine_arguments(target, asked)]
        remote.run(arguments, ANY_ANSWER, bundle_path / "remote-build.log", on_stage)
        on_stage(f"{device.host.place}: bring back what it found")
        record = fetch_engine(remote.connection, folder, bundle)
    if record is None:
        raise BundleError(f"{device.host}: {folder}/{ENGINE_RECORD}", "is missing after the build", "build it again")
    _refresh(bundle_path, on_stage)
    return EngineResult(bundle, record)


def remote_verify(
    bundle_path: Path, device: Device, *, engine: str = "auto", on_stage: OnStage = _quiet
) -> VerifyResult:
    """Checks on a device what a bundle executes there. verify.json comes back where a comparison failed, too.

    Raises:
        ParityError: A comparison failed there (exit code 4).
        DeviceError, BundleError: As `remote_build` does. UsageError: As `edgeexport.commands.verify.verify_bundle` does there.
    """
    bundle = open_bundle(bundle_path)
    with device.session(on_stage) as remote:
        folder = _sent(remote, bundle, on_stage)
        try:
            arguments = ["verify", folder, *_trust_arguments(bundle), f"--engine={engine}"]
            result = remote.run(arguments, VERIFY_ANSWER, bundle_path / "remote-verify.log", on_stage)
        except ParityError:
            try:
                fetch_results(remote.connection, folder, bundle, [_VERIFY], verify_view)
            except BundleError as error:
                on_stage(str(error))
            _refresh(bundle_path, on_stage)
            raise
        told = checked(result, lambda content: _verify_result(bundle, content), str(device.host))
        on_stage(f"{device.host.place}: bring back what it found")
        fetch_results(remote.connection, folder, bundle, [_VERIFY], _same_as(result, verify_view))
    _refresh(bundle_path, on_stage)
    return told


def remote_profile(
    bundle_path: Path,
    request: TimingRequest,
    device: Device,
    *,
    baseline: Path | None = None,
    power: bool = False,
    allow_unstable: bool = False,
    engine: str = "auto",
    on_stage: OnStage = _quiet,
) -> Bench:
    """Times a bundle on a device, beside a baseline that is sent as well.

    Args:
        request, baseline, power, allow_unstable, engine: As `edgeexport.profile.bench.profile_bundle` takes them.

    Raises:
        MeasurementError: The device changed meanwhile, or its power cannot be measured (exit code 6).
        DeviceError, BundleError: As `remote_build` does. UsageError, BuildError: As `profile_bundle` does there.
    """
    asked = request.check()
    bundle = open_bundle(bundle_path)
    against = None if baseline is None else open_bundle(baseline)
    with device.session(on_stage) as remote:
        folder = _sent(remote, bundle, on_stage)
        arguments = ["profile", folder, f"--engine={engine}", *_timing_arguments(asked)]
        if against is not None:
            arguments.append(f"--baseline={_sent(remote, against, on_stage)}")
        arguments += _trust_arguments(bundle, *([] if against is None else [against]))
        arguments += ["--power"] * power + ["--allow-unstable"] * allow_unstable
        document = remote.run(arguments, PROFILE_ANSWER, bundle_path / "remote-profile.log", on_stage)
        checked(document, bench_view, str(device.host))
        on_stage(f"{device.host.place}: bring back what it found")
        check = _same_as(document, bench_view)
        kept: list[str] = []
        names = [PROFILE_FILE, POWER_CSV, BENCH]
        fetch_results(
            remote.connection,
            folder,
            bundle,
            names,
            check,
            lambda content: kept.append(keep_fuller(bundle_path, content)),
        )
    _refresh(bundle_path, on_stage)
    notes = [*document["notes"], *filter(None, kept)]
    return Bench(bundle_path / BENCH, {**document, "notes": notes})


def _sent(remote: RemoteEdgeexport, bundle: Bundle, on_stage: OnStage) -> str:
    """Sends what differs and returns the folder there."""
    folder = folder_of_bundle(remote.connection, bundle)
    sent = send_files(remote.connection, folder, files_of_bundle(bundle), on_stage)
    count = f"{sent.files} of {sent.files + sent.present} files"
    on_stage(f"{remote.connection.host.place}: {count} sent ({sent.size / 1e6:.1f} MB), the others were there")
    remote.names[folder] = str(bundle.path)
    return folder


def _trust_arguments(*bundles: Bundle) -> list[str]:
    """Names the plugin libraries that are sent and are trusted here; engines are built there, where they are known."""
    sent = [bundle.manifest["files"].get(f"{FOLDER}/{FILE_NAME}") for bundle in bundles]
    return [f"--trust={sha256}" for sha256 in dict.fromkeys(sent) if isinstance(sha256, str) and is_trusted(sha256)]


def _engine_arguments(target: str | None, options: EngineOptions) -> list[str]:
    """The command line of `edgeexport build BUNDLE`; what is not asked for is left out."""
    given = [
        ("--target", target or options.target or None),
        ("--precision", options.precision or None),
        ("--workspace", options.workspace_mib),
        ("--useDLACore", options.dla_core),
        ("--policyDLACore", options.policy_dla_core),
        ("--threads", options.threads or None),
    ]
    flags = ["--useCudaGraph"] * options.cuda_graph + ["--no-plugins"] * (not options.plugins)
    return [*(f"{name}={value}" for name, value in given if value is not None), *flags]


def _timing_arguments(request: TimingRequest) -> list[str]:
    """The command line of a timing request; numbers in full."""
    return [
        f"--warmUp={request.warmup_ms!r}",
        f"--duration={request.duration_s!r}",
        f"--iterations={request.iterations}",
        *(f"--percentile={percentile!r}" for percentile in request.percentiles),
    ]


def _same_as(told: Any, view: Callable[[Any], object]) -> Callable[[Any], None]:
    """A check of a document: what the command printed there, and what the report can show."""

    def check(document: Any) -> None:
        if document != told:
            raise ValueError("not what the command printed there")
        view(document)

    return check


def _verify_result(bundle: Bundle, content: VerifyAnswer) -> VerifyResult:
    """What `VerifyResult.as_dict` told there."""
    comparisons = []
    for entry in content["comparisons"]:
        item = _facts(Comparison, entry)
        outputs = tuple(_facts(OutputDifference, output) for output in entry["outputs"])
        decisions = tuple(_facts(DecisionDifference, decision) for decision in entry["decisions"])
        comparisons.append(replace(item, images=tuple(item.images), outputs=outputs, decisions=decisions))
    return VerifyResult(bundle, tuple(comparisons), content["original_not_run"], content["runner"])


def _facts(kind: type[Facts], entry: Any) -> Facts:
    known = {item.name for item in fields(kind)}  # type: ignore[arg-type]
    return kind(**{name: value for name, value in entry.items() if name in known})


def _refresh(bundle_path: Path, on_stage: OnStage) -> None:
    reason = refresh_report(bundle_path)
    if reason:
        on_stage(reason)

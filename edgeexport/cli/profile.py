"""``edgeexport profile``: latency and energy of a bundle where it runs. No logic."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from edgeexport.cli.options import (
    BundleArgument,
    HostOption,
    JsonFlag,
    RemoteCommandOption,
    TrustFileOption,
    TrustOption,
    device_from_options,
)
from edgeexport.terminal.output import emit, stages_shown

__all__ = ["profile"]


def profile(
    bundle: BundleArgument,
    baseline: Annotated[
        Path | None, typer.Option(help="Bundle to compare with, in alternating blocks, such as the dense model's.")
    ] = None,
    power: Annotated[
        bool, typer.Option("--power", help="Measure energy as well: 10 s of rest, 30 s of work (a Jetson's rails).")
    ] = False,
    warm_up_ms: Annotated[
        float, typer.Option("--warm-up", "--warmUp", help="Milliseconds of inferences that do not count.")
    ] = 200.0,
    duration_s: Annotated[float, typer.Option("--duration", help="Seconds of inferences, at least.")] = 3.0,
    iterations: Annotated[int, typer.Option(help="Inferences, at least.")] = 10,
    percentile: Annotated[
        list[str] | None, typer.Option(help="Beside 50, 90 and 99; repeatable, or several with commas.")
    ] = None,
    allow_unstable: Annotated[
        bool,
        typer.Option("--allow-unstable", help="Keep the figures of a run during which the device changed, marked."),
    ] = False,
    engine: Annotated[str, typer.Option(help="auto: the bundle's engine if it has one; none: model.onnx.")] = "auto",
    trust: TrustOption = None,
    trust_file: TrustFileOption = None,
    host: HostOption = None,
    remote_command: RemoteCommandOption = None,
    json_output: JsonFlag = False,
) -> None:
    """Measure latency (and energy) here or on --host; writes bench.json. Exit code 6 if the device changed meanwhile."""
    from edgeexport.plugin.trust import trusting
    from edgeexport.profile.bench import profile_bundle
    from edgeexport.profile.protocol import TimingRequest, percentiles_from_texts
    from edgeexport.report.refresh import refresh_report
    from edgeexport.terminal.profile import print_bench

    request = TimingRequest(
        warmup_ms=warm_up_ms,
        duration_s=duration_s,
        iterations=iterations,
        percentiles=percentiles_from_texts(percentile or []),
    )
    device = device_from_options(host, remote_command)
    asked: dict[str, Any] = {
        "baseline": baseline,
        "power": power,
        "allow_unstable": allow_unstable,
        "engine": engine,
    }
    trusted = trusting(trust or (), trust_file or ())
    with trusted, stages_shown("an earlier bench.json stays as it was") as on_stage:
        if device is None:
            bench = profile_bundle(bundle, request, on_stage=on_stage, **asked)
            refresh_report(bundle, on_stage)
        else:
            from edgeexport.remote.commands import remote_profile

            bench = remote_profile(bundle, request, device, on_stage=on_stage, **asked)
    emit(json_output, bench.document, lambda: print_bench(bench))

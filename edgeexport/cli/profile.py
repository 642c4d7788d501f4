"""Commands on bundles where they run, and on what was measured there: ``edgeexport profile`` and ``compare``. No logic."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from edgeexport.cli.options import HostOption, RemoteCommandOption, device_from_options
from edgeexport.errors import UsageError
from edgeexport.terminal.output import JsonFlag, emit, stages_shown

__all__ = ["compare", "profile"]


def profile(
    bundle: Annotated[Path, typer.Argument(help="A bundle folder.")],
    baseline: Annotated[
        Path | None, typer.Option(help="Bundle to compare with, in alternating blocks, such as the dense model's.")
    ] = None,
    power: Annotated[
        bool, typer.Option("--power", help="Measure energy as well: 10 s of rest, 30 s of work (a Jetson's rails).")
    ] = False,
    warm_up_ms: Annotated[
        float, typer.Option("--warmUp", help="Milliseconds of inferences that do not count.")
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
    host: HostOption = None,
    remote_command: RemoteCommandOption = None,
    json_output: JsonFlag = False,
) -> None:
    """Measure latency (and energy) here or on --host; writes bench.json. Exit code 6 if the device changed meanwhile."""
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
    with stages_shown("an earlier bench.json stays as it was") as on_stage:
        if device is None:
            found = profile_bundle(bundle, request, on_stage=on_stage, **asked)
            refresh_report(bundle, on_stage)
        else:
            from edgeexport.remote.commands import remote_profile

            found = remote_profile(bundle, request, device, on_stage=on_stage, **asked)
    emit(json_output, found.document, lambda: print_bench(found))


def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="The bundle that B is held against.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="The bundle in question.")],
    fail_if: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-if",
            help='Exit code 8 if this holds, such as "latency_p50_ms > 1.03*A" (A is A\'s value of the same name) or '
            '"parity.cosine < 0.999"; a bare name is B\'s; repeatable.',
        ),
    ] = None,
    allow_different: Annotated[
        bool,
        typer.Option("--allow-different", help="Judge measured figures of different devices, power modes or backends."),
    ] = False,
    allow_unstable: Annotated[
        bool, typer.Option("--allow-unstable", help="Judge figures of a run during which the device changed.")
    ] = False,
    markdown: Annotated[Path | None, typer.Option(help="Also write the comparison there, as Markdown.")] = None,
    json_output: JsonFlag = False,
) -> None:
    """Compare two bundles: latency, energy, agreement, tokens, sizes. Exit code 8 if a condition fails."""
    from edgeexport.comparison.compare import compare_bundles
    from edgeexport.comparison.markdown import markdown_from_comparison
    from edgeexport.terminal.comparison import print_comparison

    found = compare_bundles(a, b, fail_if or [], allow_different=allow_different, allow_unstable=allow_unstable)
    emit(json_output, found.as_dict(), lambda: print_comparison(found))
    if markdown is not None:
        try:
            markdown.write_text(markdown_from_comparison(found), encoding="utf-8")
        except OSError as error:
            raise UsageError(
                f"--markdown {markdown}", f"cannot be written: {error.strerror or error}", "give another file"
            ) from None
    if found.error is not None:
        raise found.error

"""TensorRT-RTX as a check without a GPU: does a real TensorRT parser and builder take the graph?

The wheels tensorrt-rtx-cu13-bindings and -libs parse and build on a machine without any NVIDIA driver. The engine is
thrown away: deserialising needs a GPU, and SM86 is only the nearest to Orin (SM87) that the library offers. What stays is
the plan of its kernels, which the builder's log tells (`edgeexport.backends.plan_log` reads it). The library can abort the
process, so that it always runs in a child, which prints the verdict as the last line of its standard output, one JSON
object, and TensorRT's log on standard error.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edgeexport.device.child import finished, python_command
from edgeexport.documents import parsed
from edgeexport.documents.answers import RTX_VERDICT
from edgeexport.errors import BundleError, UsageError

__all__ = ["COMPUTE_CAPABILITY", "RtxCheck", "check_tensorrt_rtx"]

COMPUTE_CAPABILITY = "SM86"

_MODULE = "tensorrt_rtx_bindings"
_REASON_CHARACTERS = 800
_LOG_LINES = 8
_CHILD = "import sys; from edgeexport.backends.tensorrt_rtx import main; main(sys.argv[1])"
_PLAN = "Layers:\n"


@dataclass(frozen=True)
class RtxCheck:
    """Verdict on one graph.

    ``status`` is 'passed' (an engine was serialised), 'failed' (refused, crashed, or out of time) or 'not-run' (the
    library is not there or does not start). ``reason`` is empty when passed. Durations are in seconds, sizes in bytes;
    ``peak_rss_bytes`` is the child's highest resident memory. What was not reached is None. ``plan`` is the log's list of
    kernels, empty where the graph is too small to be fused.
    """

    status: str
    version: str | None = None
    reason: str = ""
    parse_s: float | None = None
    build_s: float | None = None
    engine_bytes: int | None = None
    peak_rss_bytes: int | None = None
    compute_capability: str = COMPUTE_CAPABILITY
    plan: str = field(default="", repr=False)


def check_tensorrt_rtx(
    model_path: Path,
    *,
    timeout_s: float = 600,
    on_start: Callable[[subprocess.Popen[str]], None] = lambda child: None,
) -> RtxCheck:
    """Parses and builds an ONNX file for SM86 in a child process. Takes no GPU.

    Args:
        model_path: Plugin-free graph with fixed shapes; external data is read from beside it.
        timeout_s: After this many seconds the child is ended, and the verdict is 'failed'.
        on_start: Called with the child.

    Raises:
        UsageError: There is no such file.
    """
    if not model_path.is_file():
        raise UsageError(str(model_path), "no such file, expected an ONNX model", "check the path")
    try:
        child = finished(python_command(_CHILD, str(model_path.absolute())), timeout_s, on_start=on_start)
    except subprocess.TimeoutExpired as expired:
        log = expired.stderr.decode(errors="replace") if isinstance(expired.stderr, bytes) else expired.stderr or ""
        return RtxCheck("failed", reason=_with_log(f"no verdict after {timeout_s:g} s", log))
    verdict = _verdict_from_output(child.stdout) if child.returncode == 0 else None
    if verdict is None:
        return RtxCheck(
            "failed", reason=_with_log(f"the TensorRT-RTX process {_ending(child.returncode)}", child.stderr)
        )
    return verdict


def _verdict_from_output(output: str) -> RtxCheck | None:
    """The last line, if it is a verdict; TensorRT itself prints to standard output now and then."""
    lines = output.strip().splitlines()
    try:
        document = parsed(lines[-1], RTX_VERDICT, "verdict")
        told: dict[str, Any] = {**document, "plan": "\n".join(document.get("plan", ()))}
        verdict = RtxCheck(**told)
    except (IndexError, TypeError, BundleError):
        return None
    return None if verdict.status == "passed" and not verdict.engine_bytes else verdict


def _ending(return_code: int) -> str:
    if return_code == 0:
        return "ended without a verdict"
    if return_code > 0:
        return f"ended with exit code {return_code}"
    try:
        name = signal.Signals(-return_code).name
    except ValueError:
        name = f"signal {-return_code}"
    return f"was ended by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")


def _with_log(reason: str, log: str) -> str:
    """The reason and the end of the log, in one line."""
    lines = [" ".join(line.split()) for line in log.splitlines() if line.strip()][-_LOG_LINES:]
    return f"{reason}; last log: {' / '.join(lines)}"[:_REASON_CHARACTERS] if lines else reason


# -- the child process ------------------------------------------------------------------------------------------------


def _check_in_this_process(model_path: str) -> RtxCheck:
    try:
        import tensorrt_rtx_bindings as trt  # loads its libraries from the wheel tensorrt-rtx-cu13-libs
    except (ImportError, OSError) as error:
        absent = isinstance(error, ModuleNotFoundError) and error.name == _MODULE
        cause = f"the module {_MODULE} is not installed" if absent else f"{_MODULE} cannot be loaded: {error}"
        return RtxCheck("not-run", reason=f"{cause}; edgeexport[export] brings it on x86-64 Linux")
    version = str(trt.__version__)
    errors: list[str] = []
    plan: list[str] = []
    try:
        logger = _logger(trt, errors, plan)
        builder = trt.Builder(logger)
        capability = getattr(trt.ComputeCapability, COMPUTE_CAPABILITY)
    except Exception as error:  # the bindings raise TypeError, RuntimeError or AttributeError
        return RtxCheck("not-run", version, f"TensorRT-RTX does not start: {' '.join([str(error), *errors])}")
    network = builder.create_network(_network_flags(trt))
    parser = trt.OnnxParser(network, logger)
    started = time.perf_counter()
    parsed = parser.parse_from_file(model_path)
    parse_s = time.perf_counter() - started
    if not parsed:
        reason = "parser: " + "; ".join(_parser_errors(parser) or errors)
        return _failed(version, reason, parse_s)
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(capability, 0)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # nodes and shapes in the plan
    started = time.perf_counter()
    engine = builder.build_serialized_network(network, config)
    build_s = time.perf_counter() - started
    if engine is None or engine.nbytes == 0:
        return _failed(version, "builder: " + ("; ".join(errors) or "gave no engine and no error"), parse_s)
    size = int(engine.nbytes)
    return RtxCheck("passed", version, "", parse_s, build_s, size, _peak_rss_bytes(), plan="".join(plan))


def _failed(version: str, reason: str, parse_s: float) -> RtxCheck:
    return RtxCheck(
        "failed", version, " ".join(reason.split())[:_REASON_CHARACTERS], parse_s, peak_rss_bytes=_peak_rss_bytes()
    )


def _network_flags(trt: Any) -> int:
    """Strongly typed by name: its bit differs between TensorRT versions, and a version may drop it."""
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def _parser_errors(parser: Any) -> list[str]:
    messages = []
    for index in range(parser.num_errors):
        error = parser.get_error(index)
        node = f"node '{error.node_name()}' ({error.node_operator()}): " if error.node_operator() else ""
        messages.append(f"{node}{error.desc()}")
    return messages


def _logger(trt: Any, errors: list[str], plan: list[str]) -> Any:
    """A TensorRT logger that writes to standard error and collects errors, and the message that lists the kernels."""

    class Logger(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if severity <= trt.ILogger.Severity.ERROR:
                errors.append(message)
            if message.startswith(_PLAN):
                plan.append(message)
            elif severity <= trt.ILogger.Severity.INFO:
                print(f"{severity.name}: {message}", file=sys.stderr, flush=True)

    return Logger()


def _peak_rss_bytes() -> int | None:
    """Of this program alone: getrusage's figure also covers the parent it was forked from."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    kibibytes = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(kibibytes[0]) * 1024 if kibibytes else None


def main(model_path: str) -> None:
    """What the child process does: prints the verdict on a model."""
    verdict = _check_in_this_process(model_path)
    sys.stderr.flush()
    told = asdict(verdict) | {"plan": verdict.plan.split("\n")}  # in lines, for a text may have no megabytes
    print("\n" + json.dumps(told), flush=True)

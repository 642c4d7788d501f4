"""Engines: built from a bundle for the machine at hand, recorded in engine.json beside it, and loaded again.

Runs on the device, without torch. The engine's files are no part of the bundle's manifest: a bundle is the same
everywhere, an engine belongs to one machine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgeexport.backends import BACKENDS
from edgeexport.backends.contract import BUILT_HERE, Backend, EngineOptions, EngineRecord
from edgeexport.backends.device_identity import build_settings
from edgeexport.backends.engine_files import partial_engine_folder
from edgeexport.backends.onnxruntime import OnnxRuntimeRunner
from edgeexport.backends.onnxruntime_engine import OnnxRuntimeBackend
from edgeexport.backends.runner import Runner
from edgeexport.backends.separate import SeparateRunner
from edgeexport.bundle import Bundle, json_bytes, open_bundle, sha256_of
from edgeexport.bundle.files import disk_errors
from edgeexport.bundle.tensor_info import TensorInfo
from edgeexport.device.fit import why_not_this_machine
from edgeexport.device.targets import ONNXRUNTIME, Target, target_named
from edgeexport.documents.reading import AGAIN
from edgeexport.errors import BundleError, UsageError, nearest_hint
from edgeexport.plugin.trust import remember_made_here

__all__ = [
    "ENGINE_CHOICES",
    "ENGINE_RECORD",
    "EngineResult",
    "build_engine",
    "build_engine_if_possible",
    "check_engine_options",
    "engine_record",
    "load_engine",
    "remove_engine",
    "runner_from_bundle",
    "runners_of_graphs",
]

ENGINE_RECORD = "engine.json"
ENGINE_CHOICES = ("auto", "none")

_CPU = "cpu"
_GRAPH = "model.onnx"
_OWN_PREFIXES = ("engine.", "timing.")


@dataclass(frozen=True)
class EngineResult:
    """A built engine: the bundle that it stands beside, and its record."""

    bundle: Bundle
    record: EngineRecord

    def as_dict(self) -> dict[str, object]:
        """JSON-ready form."""
        return {"bundle": str(self.bundle.path), "engine": self.record.as_dict()}


def build_engine(
    bundle_path: Path,
    *,
    target: str | None = None,
    options: EngineOptions | None = None,
    on_stage: Callable[[str], None] = lambda name: None,
) -> EngineResult:
    """Builds the engine of a bundle on this machine. An engine that is there stays whole until the new one is complete.

    Args:
        bundle_path: A bundle folder; only the engine's own files are written to it.
        target: The bundle's own, or 'cpu', which any bundle can be executed on; None takes the bundle's own.
        options: What is asked of the engine; target and precision may be left empty.
        on_stage: Called with each stage's name as it starts.

    Raises:
        BundleError: The bundle is damaged, or for another target or machine (exit code 9).
        UsageError: No runtime here can build for the target, or none can do what ``options`` ask (exit code 2).
        BuildError: The runtime refuses the graph, or the disk is full or not writable (exit code 5).
    """
    on_stage("check the bundle")
    bundle = open_bundle(bundle_path)
    asked = options or EngineOptions()
    chosen = _target_of(bundle, target or asked.target)
    precision = str(bundle.manifest["precision"])
    if asked.precision not in ("", precision):
        remedy = f"build the bundle again with --precision {asked.precision}"
        raise UsageError(f"--precision {asked.precision}", f"the bundle's graphs are {precision}", remedy)
    misfit = why_not_this_machine(chosen)
    if misfit:
        raise BundleError(str(bundle.path), f"was built for {chosen.name}, {misfit}", _elsewhere(bundle, chosen))
    backend = _backend_for(chosen)
    wanted = replace(asked, target=chosen.name, precision=precision)
    _check_options(backend, bundle, wanted)
    record = _built(bundle, backend, wanted, on_stage)
    return EngineResult(bundle, record)


def build_engine_if_possible(
    bundle_path: Path, *, options: EngineOptions | None = None, on_stage: Callable[[str], None] = lambda name: None
) -> tuple[EngineRecord | None, str]:
    """The last stage of a build: the engine of the bundle's own target where this machine can build it.

    Returns:
        The record and ''; or None and why there is no engine, with what to do.

    Raises:
        UsageError, BundleError, BuildError: As `build_engine` does, for a machine that could have built it.
    """
    bundle = open_bundle(bundle_path, check_hashes=False)
    target = target_named(str(bundle.manifest["target"]))
    misfit = why_not_this_machine(target)
    if misfit:
        return None, f"{misfit}; there: edgeexport build BUNDLE --target {target.name}"
    try:
        _backend_for(target)
    except UsageError as error:
        return None, f"{error.where}: {error.problem}; {error.remedy}"
    return build_engine(bundle_path, options=options, on_stage=on_stage).record, ""


def check_engine_options(target_name: str, options: EngineOptions) -> None:
    """Refuses options of an engine that `build_engine_if_possible` would not heed; before anything is computed.

    Raises:
        UsageError: Options are given, and no engine is built here, or the backend does not offer them.
    """
    plain = EngineOptions(target=options.target, precision=options.precision, plugins=options.plugins)
    if options == plain:
        return
    target = target_named(target_name)
    misfit = why_not_this_machine(target)
    if misfit:
        given = ", ".join(
            f"{name} = {value}" for name, value in options.as_dict().items() if value != plain.as_dict()[name]
        )
        remedy = f"give it there: edgeexport build BUNDLE --target {target.name}"
        raise UsageError(given, f"is the engine's, and none is built here: {misfit}", remedy)
    backend, wanted = _backend_for(target), replace(options, target=target.name)
    for engine in (wanted, _policy_options(wanted)):
        backend.check(engine)


def engine_record(bundle: Bundle) -> EngineRecord | None:
    """The record beside a bundle; None if it has no engine.

    Raises:
        BundleError: engine.json is damaged or of another schema.
    """
    if not (bundle.path / ENGINE_RECORD).is_file():
        return None
    return EngineRecord.from_dict(bundle.json(ENGINE_RECORD))


def remove_engine(bundle: Bundle, keep: Sequence[str] = ()) -> None:
    """Removes the record beside a bundle, and then the files that it lists, but for those named by ``keep``.

    Raises:
        OSError: One cannot be removed.
    """
    try:
        old = engine_record(bundle)
    except BundleError:  # damaged: what it listed is unknown and harmless
        old = None
    (bundle.path / ENGINE_RECORD).unlink(missing_ok=True)
    for name in old.files if old is not None else ():
        if name not in keep and name.startswith(_OWN_PREFIXES):  # nothing that a damaged record may name besides
            (bundle.path / name).unlink(missing_ok=True)


def load_engine(bundle: Bundle) -> Runner:
    """Loads the engine of a bundle that was opened with its hashes checked.

    Raises:
        BundleError: There is none, a file of it is damaged, or it is from another version, device, graph or plugin
            library, or was neither built here nor named by the user, whatever engine.json says (exit code 9).
        UsageError: Its runtime is not installed.
    """
    bundle.refuse_several()
    record, again = _checked_record(bundle)
    policy, backend = bundle.policy, BACKENDS[record.backend]
    if policy is None:
        return backend.load(bundle, record)
    if record.policy is None:
        problem = "lists no engine of the policy network, which is a graph of its own here"
        raise BundleError(str(bundle.path / ENGINE_RECORD), problem, again)
    choice = policy.outputs[0].name
    return SeparateRunner(backend.load(policy, record.policy), backend.load(bundle, record), choice)


def _checked_record(bundle: Bundle) -> tuple[EngineRecord, str]:
    """The record of a bundle's engine, whose files are as it says; and how to build it again.

    Raises:
        BundleError: See `load_engine`.
    """
    record = engine_record(bundle)
    if record is None:
        raise BundleError(str(bundle.path), "has no engine.json, so no engine", f"edgeexport build {bundle.path}")
    if record.backend not in BACKENDS:
        raise BundleError(
            str(bundle.path / ENGINE_RECORD),
            f"the engine is for the backend {record.backend!r}, expected one of {', '.join(BACKENDS)}",
            "use the version of edgeexport that built it, or build it again",
        )
    again = f"build the engine again: edgeexport build {bundle.path} --target {record.target}"
    for name, expected in record.files.items():
        file = bundle.path / name
        if not file.is_file():
            raise BundleError(str(file), "is missing, engine.json lists it", again)
        digest = sha256_of(file)
        if digest != expected:
            problem = f"was changed after the build: sha256 {digest[:12]}..., engine.json says {expected[:12]}..."
            raise BundleError(str(file), problem, again)
    return record, again


def runners_of_graphs(bundle: Bundle, engine: str = "auto", *, threads: int = 0) -> dict[str, Runner]:
    """The same as `runner_from_bundle` for every graph of a bundle that lists several, by their names.

    Raises:
        UsageError, BundleError, BuildError: As `runner_from_bundle` does.
    """
    record = _chosen_record(bundle, engine, threads)
    if record is None:
        return {part.part: OnnxRuntimeRunner(part.path / part.graph(_GRAPH), threads=threads) for part in bundle.listed}
    record, again = _checked_record(bundle)
    *others, last = bundle.listed
    records = {**record.graphs, last.part: record}
    missing = [part.part for part in others if part.part not in records]
    if missing:
        problem = f"lists no engine of {missing[0]}, which is a graph of its own here"
        raise BundleError(str(bundle.path / ENGINE_RECORD), problem, again)
    return {part.part: BACKENDS[record.backend].load(part, records[part.part]) for part in bundle.listed}


def runner_from_bundle(
    bundle: Bundle, engine: str = "auto", *, extra_outputs: list[TensorInfo] | None = None, threads: int = 0
) -> Runner:
    """What `run`, `verify` and `profile` execute: the bundle's engine, or model.onnx in ONNX Runtime.

    Args:
        bundle: Opened with its hashes checked.
        engine: 'auto' takes the engine if one was built on this machine (engine.json of a device may have been copied
            here for its figures); 'none' takes model.onnx.
        extra_outputs: Inner values that model.onnx returns too; None: all. An engine always returns all.
        threads: For model.onnx; 0 lets ONNX Runtime choose. An engine has its own.

    Raises:
        UsageError: Another word, threads for an engine, or a runtime that is not installed.
        BundleError: As `load_engine` does. BuildError: ONNX Runtime refuses model.onnx.
    """
    try:
        if _chosen_record(bundle, engine, threads) is not None:
            return load_engine(bundle)
    except BundleError as error:
        remedy = f"{error.remedy}; or --engine none runs model.onnx"
        raise BundleError(error.where, error.problem, remedy) from error
    extra = bundle.inner_outputs if extra_outputs is None else extra_outputs
    model, policy = _graph_runner(bundle, extra, threads), bundle.policy
    if policy is None:
        return model
    return SeparateRunner(_graph_runner(policy, [], threads), model, policy.outputs[0].name)


def _chosen_record(bundle: Bundle, engine: str, threads: int) -> EngineRecord | None:
    """The record of the engine that is to run; None where the graphs themselves are.

    Raises:
        UsageError, BundleError: See `runner_from_bundle`.
    """
    if engine not in ENGINE_CHOICES:
        raise UsageError(
            f"--engine {engine}", f"expected {' or '.join(ENGINE_CHOICES)}", nearest_hint(engine, ENGINE_CHOICES)
        )
    record = engine_record(bundle) if engine == "auto" else None
    if record is None or record.provenance != BUILT_HERE:
        return None
    if threads:
        raise UsageError(f"threads = {threads}", "an engine keeps the threads it was built with", "use --engine none")
    return record


def _graph_runner(bundle: Bundle, extra: list[TensorInfo], threads: int) -> OnnxRuntimeRunner:
    runner = OnnxRuntimeRunner(bundle.path / bundle.graph(_GRAPH), extra_outputs=extra, threads=threads)
    _check_declared(bundle, runner)
    return runner


def _check_declared(bundle: Bundle, runner: OnnxRuntimeRunner) -> None:
    """Refuses a manifest that declares another input or output than the graph has."""
    graph = bundle.graph(_GRAPH)
    where = str(bundle.path / "manifest.json")
    declared = [list(bundle.input.shape), *(list(info.shape) for info in bundle.extra_inputs)]
    found = [list(value.shape) for value in runner.session.get_inputs()]
    if declared != found:
        raise BundleError(f"{where}: input", f"has the shapes {declared}, {graph} has {found}", AGAIN)
    outputs = {value.name: list(value.shape) for value in runner.session.get_outputs()}
    for item in bundle.manifest.get("outputs", []):
        if outputs.get(item["name"]) != item["shape"]:
            problem = f"has {item['name']!r} of {item['shape']}, {graph} has {outputs.get(item['name'])}"
            raise BundleError(f"{where}: outputs", problem, AGAIN)


def _target_of(bundle: Bundle, asked: str | None) -> Target:
    own = str(bundle.manifest["target"])
    if not asked or asked == own:
        return target_named(own)
    chosen = target_named(asked)
    if chosen.kind == ONNXRUNTIME:  # model.onnx stands in standard operators and runs anywhere
        return chosen
    raise BundleError(
        str(bundle.path),
        f"was built for {own}, asked for {asked}",
        f"build a bundle from the recipe with --target {asked}, or give --target {_CPU} for an engine of ONNX Runtime",
    )


def _elsewhere(bundle: Bundle, target: Target) -> str:
    return (
        f"build the engine there (edgeexport build {bundle.path.name} --target {target.name}), "
        f"or give --target {_CPU} to build one for ONNX Runtime here"
    )


def _backend_for(target: Target) -> Backend:
    """The backend that builds for a target here.

    Raises:
        UsageError: None can; the message says why for each.
    """
    if target.kind == ONNXRUNTIME:
        return BACKENDS["onnxruntime"]
    tensorrt = BACKENDS["tensorrt"]
    reason = tensorrt.unavailable()
    if not reason:
        return tensorrt
    if target.jetson_models:
        remedy = "use the TensorRT of JetPack (python3 -m venv --system-site-packages), not one from pip"
        raise UsageError(f"--target {target.name}", f"needs TensorRT: {reason}", remedy)
    onnxruntime = BACKENDS["onnxruntime"]
    assert isinstance(onnxruntime, OnnxRuntimeBackend)
    without_cuda = onnxruntime.without_cuda()
    if not without_cuda:
        return onnxruntime
    raise UsageError(
        f"--target {target.name}",
        f"neither TensorRT ({reason}) nor ONNX Runtime with CUDA ({without_cuda}) can be used here",
        f"pip install 'edgeexport[gpu]' on a machine with an NVIDIA GPU, or give --target {_CPU}",
    )


def _built(bundle: Bundle, backend: Backend, options: EngineOptions, on_stage: Callable[[str], None]) -> EngineRecord:
    """Builds into a folder beside the final names, moves the files, and writes engine.json last."""
    full = "free some space and build the engine again"
    writing = disk_errors(bundle.path, "make the bundle folder writable", when_full=full)
    with writing, partial_engine_folder(bundle.path) as partial:
        if bundle.listed:
            built = {part.part: _built_part(part, backend, options, partial, on_stage) for part in bundle.listed}
            last = bundle.listed[-1].part
            record = built.pop(last)
            others = {name: digest for own in built.values() for name, digest in own.files.items()}
            record = replace(record, graphs=built, files={**record.files, **others})
        else:
            record = backend.build(bundle, partial, options, on_stage)
        settings = build_settings(on_gpu=record.device.compute_capability is not None)
        record = replace(record, options={**record.options, **settings})
        if bundle.policy is not None:
            own = _built_part(bundle.policy, backend, _policy_options(options), partial, on_stage)
            record = replace(record, policy=own, files={**record.files, **own.files})
        (partial / ENGINE_RECORD).write_bytes(json_bytes(record.as_dict()))
        try:
            remember_made_here(record.files)
        except OSError as error:  # the engine is worth more than its record
            on_stage(f"this engine is loaded with --trust {next(iter(record.files.values()))} alone: {error}")
        _replace_engine(bundle, partial, list(record.files))
    return record


def _built_part(
    part: Bundle, backend: Backend, options: EngineOptions, partial: Path, on_stage: Callable[[str], None]
) -> EngineRecord:
    """The engine of one graph among several, its files renamed and beside the others'."""
    on_stage(f"the engine of {part.part}")
    folder = partial / part.part
    folder.mkdir()
    record = backend.build(part, folder, options, on_stage)
    files = {f"engine.{part.part}.{name.removeprefix('engine.')}": name for name in record.files}
    for renamed, name in files.items():
        (folder / name).replace(partial / renamed)
    folder.rmdir()
    return replace(record, files={renamed: record.files[name] for renamed, name in files.items()})


def _policy_options(options: EngineOptions) -> EngineOptions:
    return replace(options, dla_core=options.policy_dla_core, policy_dla_core=None)


def _check_options(backend: Backend, bundle: Bundle, options: EngineOptions) -> None:
    """Refuses what the backend does not offer for either engine, and an accelerator for a policy that has none.

    Raises:
        UsageError: See above.
    """
    backend.check(options)
    if options.policy_dla_core is not None and bundle.policy is None:
        problem = "the bundle's policy network, if any, is inside the model's graph"
        remedy = 'build the bundle with reduction.cts.policy="separate", or give --dla-core'
        raise UsageError(f"policy_dla_core = {options.policy_dla_core}", problem, remedy)
    backend.check(_policy_options(options))


def _replace_engine(bundle: Bundle, partial: Path, names: list[str]) -> None:
    """The old record goes first and the new one comes last: what lies between is no engine."""
    remove_engine(bundle, keep=names)
    for name in [*names, ENGINE_RECORD]:
        (partial / name).replace(bundle.path / name)

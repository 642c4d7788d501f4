"""What a runtime has to offer to build a bundle's engine and load it; and the record of a built engine.

An engine belongs to the machine that built it: `EngineRecord` (engine.json in the bundle) says which runtime, device,
graph and plugin library it came from, and `Backend.load` refuses it where one of them is another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from edgeexport.backends.runner import Runner
from edgeexport.bundle import Bundle
from edgeexport.documents import Engine
from edgeexport.documents.engine import ENGINE_SCHEMA
from edgeexport.errors import BundleError

__all__ = [
    "BUILT_HERE",
    "ENGINE_SCHEMA",
    "Backend",
    "DeviceIdentity",
    "EngineOptions",
    "EngineRecord",
    "check_same",
    "graph_sha256",
]

BUILT_HERE = "built on this machine"


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """What is asked of an engine. A backend refuses what it cannot do (UsageError); it never leaves it out silently.

    Attributes:
        target: Name of the target it is built for (`edgeexport.device.targets.TARGETS`). Empty: the bundle's;
            `engine.build_engine` fills it in, so that a backend always gets a name. Likewise ``precision``.
        precision: 'fp32' or 'fp16'; must be that of the bundle's graphs.
        workspace_mib: Limit of TensorRT's scratch memory while building and running; None leaves it to TensorRT.
        plugins: Take the graph with the bundle's plugins; False the one in standard operators.
        cuda_graph: Capture the inference into a CUDA graph when it runs.
        dla_core: Deep-learning accelerator to use, with fallback to the GPU; None uses the GPU alone.
        policy_dla_core: The same for a policy network with an engine of its own.
        threads: For a CPU; 0 lets the runtime choose.
    """

    target: str = ""
    precision: str = ""
    workspace_mib: int | None = None
    plugins: bool = True
    cuda_graph: bool = False
    dla_core: int | None = None
    policy_dla_core: int | None = None
    threads: int = 0

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return asdict(self)


@dataclass(frozen=True)
class DeviceIdentity:
    """What an engine runs on.

    Attributes:
        name: The processor's or GPU's. CUDA calls the GPU of every Jetson Orin 'Orin'.
        machine: The architecture: 'x86_64', 'aarch64'.
        compute_capability: The GPU's, such as '8.7'; None for a CPU.
        board: The Jetson's model, which tells an AGX Orin from an Orin NX; None for another machine, where it is hidden (in
            a container), and in engine.json of earlier versions.
    """

    name: str
    machine: str
    compute_capability: str | None = None
    board: str | None = None

    def __str__(self) -> str:
        facts = [self.machine]
        if self.compute_capability:
            facts.append(f"compute capability {self.compute_capability}")
        if self.board and self.board != self.name:
            facts.append(self.board)
        return f"{self.name} ({', '.join(facts)})"

    def may_be(self, other: DeviceIdentity) -> bool:
        """Whether nothing that both tell differs."""
        unknown = self.board is None or other.board is None
        return (replace(self, board=other.board) if unknown else self) == other


@dataclass(frozen=True)
class EngineRecord:
    """engine.json: where an engine comes from, and its files.

    Attributes:
        backend, backend_version: Key of `edgeexport.backends.BACKENDS`, and the runtime's own version.
        target, precision: As asked for.
        graph, graph_sha256: The bundle's file that it was built from.
        plugins_sha256: Of the plugin library that it needs; None without.
        device: What it was built on and runs on.
        options: `EngineOptions.as_dict`, what the backend adds (such as ONNX Runtime's provider), and
            `device_identity.build_settings`.
        build_seconds: Wall time of the build.
        files: The engine's own files in the bundle folder -> sha256; the first is the engine.
        provenance: How it came here.
        policy: Of the policy network's engine, where it has one of its own; its files are among ``files``.
        graphs: Of a bundle that lists several graphs, likewise of all but the last, by their names.
    """

    backend: str
    backend_version: str
    target: str
    precision: str
    graph: str
    graph_sha256: str
    plugins_sha256: str | None
    device: DeviceIdentity
    options: Mapping[str, Any]
    build_seconds: float
    files: Mapping[str, str]
    provenance: str = BUILT_HERE
    policy: EngineRecord | None = None
    graphs: Mapping[str, EngineRecord] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready form, with the schema."""
        own = {"schema": ENGINE_SCHEMA, **asdict(replace(self, policy=None, graphs={}))}
        del own["policy"], own["graphs"]
        if self.graphs:
            own["graphs"] = {name: record.as_dict() for name, record in self.graphs.items()}
        return own if self.policy is None else {**own, "policy": self.policy.as_dict()}

    @classmethod
    def from_dict(cls, content: Engine | Mapping[str, Any]) -> EngineRecord:
        """The inverse of `as_dict`, of what `edgeexport.documents` has read."""
        own = [name for name in cls.__dataclass_fields__ if name not in ("policy", "graphs")]
        entries: dict[str, Any] = {name: content[name] for name in own}  # type: ignore[literal-required]
        policy = content.get("policy")
        device = {
            name: value for name, value in entries.pop("device").items() if name in DeviceIdentity.__dataclass_fields__
        }
        return cls(
            device=DeviceIdentity(**device),
            policy=None if policy is None else cls.from_dict(policy),
            graphs={name: cls.from_dict(record) for name, record in content.get("graphs", {}).items()},
            **entries,
        )


class Backend(Protocol):
    """A runtime that builds engines from bundles."""

    name: str

    def unavailable(self) -> str:
        """Why it cannot be used on this machine; empty if it can. Never raises."""

    def check(self, options: EngineOptions) -> None:
        """Refuses options that this backend does not offer; called before anything is computed.

        Raises:
            UsageError: The message names the option and why.
        """

    def build(
        self, bundle: Bundle, folder: Path, options: EngineOptions, on_stage: Callable[[str], None]
    ) -> EngineRecord:
        """Builds an engine for this machine.

        Args:
            bundle: What to build from; its folder is not written to.
            folder: Where the engine's files go, under the names that they will have in the bundle; `engine.build_engine`
                moves them there and writes engine.json. A timing cache of an earlier build may stand in ``bundle.path``.
            options: What is asked for; `check` has passed them.
            on_stage: Called with each stage's name as it starts.

        Raises:
            UsageError: The runtime is missing here.
            BuildError: It refuses the graph.
            OSError: ``folder`` cannot be written, or the disk is full; `engine.build_engine` tells it as a `BuildError`.
        """

    def load(self, bundle: Bundle, record: EngineRecord) -> Runner:
        """Loads the engine of ``bundle``. The files' hashes have been checked (`engine.load_engine`).

        Raises:
            UsageError: The runtime is missing here.
            BundleError: The engine is from another version, device, graph or plugin library, or damaged (exit code 9).
        """


def graph_sha256(bundle: Bundle, name: str) -> str:
    """A graph's hash, from the manifest: `edgeexport.bundle.open_bundle` has held the file to it.

    Raises:
        BundleError: The manifest lists no such file.
    """
    digest = bundle.manifest["files"].get(name)
    if digest is None:
        raise BundleError(
            str(bundle.path / "manifest.json"),
            f"lists no {name}, which the engine is built from",
            "build the bundle again",
        )
    return str(digest)


def check_same(bundle: Bundle, how: str, actual: object, expected: object, remedy: str) -> None:
    """Refuses an engine where something is not what it was built with.

    Args:
        bundle: The engine's bundle.
        how: What is compared, to stand behind 'was built': 'with ONNX Runtime', 'on', 'from the graph of sha256'.
        actual: As it is on this machine or in the bundle now.
        expected: As engine.json says.
        remedy: What to do.

    Raises:
        BundleError: ``actual != expected``, or a device that cannot be the expected one (exit code 9).
    """
    if isinstance(actual, DeviceIdentity) and isinstance(expected, DeviceIdentity):
        same = actual.may_be(expected)
    else:
        same = actual == expected
    if not same:
        raise BundleError(
            str(bundle.path / "engine.json"), f"the engine was built {how} {expected}, found {actual}", remedy
        )

"""A model repository for NVIDIA Triton from a bundle: what `edgeexport triton` does. Needs no torch.

Shapes are fixed, so that ``max_batch_size`` is 0 and the batch stands in ``dims``. Nothing here has run in a Triton server.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from edgeexport.bundle import Bundle, open_bundle
from edgeexport.bundle.files import disk_errors
from edgeexport.bundle.places import WEIGHTS_FILE
from edgeexport.bundle.tensor_info import TensorInfo
from edgeexport.device.remains import partial_folder
from edgeexport.errors import UsageError, nearest_hint

__all__ = ["BACKENDS", "TritonModel", "write_triton_model"]

BACKENDS = ("auto", "onnxruntime", "tensorrt")

_TYPES = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "int8": "INT8",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "float32": "FP32",
}
_PLAN = "engine.plan"
_GRAPH = "model.onnx"


@dataclass(frozen=True)
class TritonModel:
    """A written model: its folder, its backend, the files in it, and what has to be given to the server beside it."""

    folder: Path
    backend: str
    files: tuple[str, ...]
    server: str

    def as_dict(self) -> dict[str, object]:
        """JSON-ready form."""
        return {"folder": str(self.folder), "backend": self.backend, "files": list(self.files), "server": self.server}


def write_triton_model(bundle_dir: Path, out: Path, *, backend: str = "auto", name: str | None = None) -> TritonModel:
    """Writes ``<out>/<name>/config.pbtxt`` and ``<out>/<name>/1/`` with the graph or the engine.

    Args:
        bundle_dir: A bundle of one graph.
        out: The model repository; it may hold other models.
        backend: 'onnxruntime' (model.onnx), 'tensorrt' (engine.plan, which belongs to the GPU and the TensorRT that built it),
            or 'auto': the engine where there is one.
        name: The model's; the bundle folder's by default.

    Raises:
        UsageError: Another backend; no engine; a bundle of several graphs; the model's folder exists, or cannot be written.
        BundleError: No bundle, or a damaged one.
    """
    if backend not in BACKENDS:
        raise UsageError(f"--backend {backend}", f"expected {' or '.join(BACKENDS)}", nearest_hint(backend, BACKENDS))
    bundle = open_bundle(bundle_dir)
    bundle.refuse_several()
    if bundle.policy is not None:
        problem = "has a policy network with a graph of its own, which takes two models of Triton and an ensemble"
        raise UsageError(str(bundle_dir), problem, "build it with reduction.cts.policy='inside'")
    has_plan = (bundle_dir / _PLAN).is_file()
    if backend == "tensorrt" and not has_plan:
        problem = f"holds no {_PLAN}"
        remedy = "`edgeexport build BUNDLE` on the server's GPU makes it; or --backend onnxruntime"
        raise UsageError(str(bundle_dir), problem, remedy)
    chosen = ("tensorrt" if has_plan else "onnxruntime") if backend == "auto" else backend
    called = name or bundle_dir.resolve().name
    if called in (".", "..") or Path(called).name != called:
        raise UsageError(f"--name {called}", "is no name of a folder", "give one without slashes")
    folder = out / called
    if folder.exists():
        raise UsageError(str(folder), "exists already", "give another --name or --out, or remove it")
    sources = {_PLAN: "model.plan"} if chosen == "tensorrt" else {_GRAPH: "model.onnx"}
    if chosen == "onnxruntime" and (bundle_dir / WEIGHTS_FILE).is_file():
        sources[WEIGHTS_FILE] = WEIGHTS_FILE
    config = _config(bundle, called, chosen)
    with disk_errors(folder, "give another --out", kind=UsageError):
        out.mkdir(parents=True, exist_ok=True)
        with partial_folder(out, called) as partial:  # a server that looks meanwhile finds no half of a model
            written = partial / called
            (written / "1").mkdir(parents=True)
            for source, target in sources.items():
                shutil.copyfile(bundle_dir / source, written / "1" / target)
            (written / "config.pbtxt").write_text(config, encoding="utf-8")
            written.rename(folder)
    files = ("config.pbtxt", *(f"1/{target}" for target in sources.values()))
    return TritonModel(folder, chosen, files, _server(bundle, chosen))


def _config(bundle: Bundle, name: str, backend: str) -> str:
    (graph, *_) = bundle.graphs
    platform = {"tensorrt": "tensorrt_plan", "onnxruntime": "onnxruntime_onnx"}[backend]
    kind = "KIND_GPU" if backend == "tensorrt" or bundle.manifest["target"] != "cpu" else "KIND_CPU"
    lines = [
        f"# {bundle.name} for {bundle.manifest['target']}, {bundle.manifest['precision']}; written by edgeexport triton",
        f'name: "{_quoted(name)}"',
        f'platform: "{platform}"',
        "max_batch_size: 0  # every shape is fixed, the batch included",
        *_tensors("input", graph.inputs),
        *_tensors("output", graph.outputs),
        f"instance_group [ {{ count: 1, kind: {kind} }} ]",
    ]
    return "\n".join(lines) + "\n"


def _tensors(word: str, tensors: list[TensorInfo]) -> list[str]:
    entries = []
    for tensor in tensors:
        dims = ", ".join(map(str, tensor.shape))
        kind = _TYPES.get(tensor.dtype)
        if kind is None:
            raise UsageError(tensor.name, f"is {tensor.dtype}, which Triton does not have", "give out other outputs")
        entries.append(f'  {{ name: "{_quoted(tensor.name)}", data_type: TYPE_{kind}, dims: [ {dims} ] }}')
    return [f"{word} [", ",\n".join(entries), "]"]


def _server(bundle: Bundle, backend: str) -> str:
    """What has to be given to the server for this model; empty for nothing."""
    if backend != "tensorrt" or not bundle.manifest.get("plugins"):
        return ""
    return "LD_PRELOAD=libedgeexport_plugins.so, or --backend-config=tensorrt,plugins=libedgeexport_plugins.so"


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')

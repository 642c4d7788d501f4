"""Runs a bundle's `model.onnx` in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeexport.backends.graph_outputs import TensorInfo, appended_outputs
from edgeexport.errors import BuildError, UsageError

__all__ = ["OnnxRuntimeRunner"]


class OnnxRuntimeRunner:
    """One session on the CPU.

    Args:
        model: Path of an ONNX file, or its serialized bytes.
        extra_outputs: Inner values to return as well.
        threads: Intra-op threads; 0 lets ONNX Runtime choose; ignored with ``shared_pool``.
        shared_pool: Use the process-wide thread pool (see `onnxruntime.set_global_thread_pool_sizes`), for timing
            several sessions against each other.

    Raises:
        UsageError: ONNX Runtime is not installed.
        BuildError: The graph is not accepted.
    """

    name = "onnxruntime"

    def __init__(
        self,
        model: Path | bytes,
        *,
        extra_outputs: Sequence[TensorInfo] = (),
        threads: int = 0,
        shared_pool: bool = False,
    ) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise UsageError("onnxruntime", "is not installed", "pip install 'edgeexport[cpu]'") from None
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = threads
        options.use_per_session_threads = not shared_pool
        source: bytes | str = model if isinstance(model, bytes) else str(model)
        try:
            if extra_outputs:
                content = model if isinstance(model, bytes) else model.read_bytes()
                source = content + appended_outputs(extra_outputs)
            self.session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's own exceptions derive from Exception alone
            where = "model" if isinstance(model, bytes) else str(model)
            raise BuildError(where, f"ONNX Runtime {onnxruntime.__version__} refuses the graph: {error}") from error
        self.version: str = onnxruntime.__version__
        self.input_name, *extra_names = (value.name for value in self.session.get_inputs())
        self.extra_input_names: tuple[str, ...] = tuple(extra_names)
        self.output_names: list[str] = [output.name for output in self.session.get_outputs()]

    def run(self, image: NDArray, extra: Mapping[str, NDArray] | None = None) -> dict[str, NDArray]:
        """Runs one batch; returns every output by name.

        Args:
            image: The graph's first input.
            extra: Its further inputs by name, where it has any.

        Raises:
            UsageError: ``extra`` lacks an input of the graph, or names one that it does not have.
        """
        further = extra or {}
        if set(further) != set(self.extra_input_names):
            raise UsageError(
                "inputs of the graph",
                f"given {_listed(further)} beside {self.input_name!r}, expected {_listed(self.extra_input_names)}",
                "a bundle's manifest lists them under extra_inputs",
            )
        values = self.session.run(None, {self.input_name: image, **further})
        return dict(zip(self.output_names, (np.asarray(value) for value in values), strict=True))


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in sorted(names)) or "nothing"

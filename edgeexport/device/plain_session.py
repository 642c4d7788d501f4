"""A model in ONNX Runtime as it is, on the CPU: exports, constants and decoders are computed with it; nothing is timed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["EXTERNAL_FOLDER", "plain_session", "share_one_pool"]

EXTERNAL_FOLDER = "session.model_external_initializers_file_folder_path"
"""ONNX Runtime's setting: where the weights lie to which a serialized graph refers."""

_QUIET = 4
_pools: list[int] = []


def share_one_pool(threads: int) -> None:
    """Gives the process one pool of ``threads`` threads, which `plain_session` uses from then on; the first call counts.

    ONNX Runtime refuses every session with threads of its own in a process that has such a pool.
    """
    import onnxruntime

    if not _pools:
        onnxruntime.set_global_thread_pool_sizes(threads, 1)
        _pools.append(threads)


def plain_session(model: bytes | str | Path, folder: Path | str | None = None) -> Any:
    """A session without optimisations on the CPU.

    Args:
        model: Its bytes or its file.
        folder: Of the weights that lie outside of ``model``'s bytes.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = _QUIET
    options.use_per_session_threads = not _pools
    if folder is not None:
        options.add_session_config_entry(EXTERNAL_FOLDER, str(folder))
    source = model if isinstance(model, bytes) else str(model)
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])

"""The kernels' launchers as Python functions on CUDA tensors, compiled for this machine's GPU."""

from __future__ import annotations

import ctypes
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from edgeexport.errors import BuildError
from edgeexport.ops.match_tables import MatchTables
from edgeexport.plugin.cmake import build_target, find_cmake
from edgeexport.plugin.sources import sources_folder
from edgeexport.plugin.toolkit import Toolkit, find_toolkit

__all__ = ["Launchers", "compile_launchers", "load_launchers"]

_Results = TypeVar("_Results")

_TYPES = {torch.float32: 0, torch.float16: 1, torch.int32: 3}  # plugins/common/element_type.h


def compile_launchers(toolkit: Toolkit, architecture: int, folder: Path) -> Path:
    """Compiles the launchers and their kernels.

    Args:
        toolkit: CUDA.
        architecture: Such as 87.
        folder: Where the build goes.

    Raises:
        BuildError: There is no CMake, or they do not compile.
    """
    options = {
        "EDGEEXPORT_PLUGINS": "OFF",
        "EDGEEXPORT_LAUNCHERS": Path(__file__).with_name("launchers.cu"),
        "CMAKE_CUDA_ARCHITECTURES": architecture,
        "CMAKE_CUDA_COMPILER": toolkit.nvcc,
        "CMAKE_CXX_COMPILER": toolkit.compiler.path,
    }
    build_target(find_cmake(), sources_folder(), folder, "edgeexport_launchers", options)
    return folder / "libedgeexport_launchers.so"


def load_launchers() -> Launchers:
    """Compiles for the current GPU and loads.

    Raises:
        BuildError: There is no toolkit, or it cannot compile the launchers.
        UsageError: The toolkit does not know this GPU.
    """
    major, minor = torch.cuda.get_device_capability()
    toolkit = find_toolkit()
    toolkit.check_architectures((10 * major + minor,))
    with tempfile.TemporaryDirectory() as folder:
        return Launchers(ctypes.CDLL(str(compile_launchers(toolkit, 10 * major + minor, Path(folder)))))


class Launchers:
    """Each method allocates the outputs once and returns a function that launches and returns them."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        library.make_match.restype = ctypes.c_void_p

    def token_match(self, metric: Tensor, tables: MatchTables) -> Callable[[], tuple[Tensor, Tensor, Tensor]]:
        """As `token_match_reference`."""
        match, table, workspace = self._match(metric, tables)
        decisions = self._decisions(metric.shape[0], tables)
        arguments = (match, metric, table, workspace, *decisions)
        source, target, kept = decisions
        return self._launch("launch_token_match", metric, arguments, (source, target, kept[:, : tables.K]))

    def token_match_merge(
        self, metric: Tensor, x: Tensor, size: Tensor, tables: MatchTables
    ) -> Callable[[], tuple[Tensor, ...]]:
        """As `token_match_merge_reference`, its metric of heads."""
        match, table, workspace = self._match(metric[:, 0], tables)
        batch, _, width = x.shape
        merged = torch.empty(batch, tables.tokens_out, width, device="cuda")
        merged_size = torch.empty(batch, tables.tokens_out, 1, device="cuda")
        log_size = torch.empty(batch, 1, 1, tables.tokens_out, dtype=metric.dtype, device="cuda")
        results = (merged, merged_size, log_size, *self._decisions(batch, tables))
        arguments = (match, metric.shape[1], width, tables.prefix, metric, x, size, table, workspace, *results)
        return self._launch("launch_token_match_merge", metric, arguments, results)

    def _match(self, metric: Tensor, tables: MatchTables) -> tuple[ctypes.c_void_p, Tensor, Tensor]:
        """What a launch needs beside its tensors: sizes and tables on the host, tables on the GPU, workspace."""
        batch, tokens, channels = metric.shape
        lists = (tables.sources, tables.destinations, tables.taken, tables.left or (0,))
        arrays = [item for values in lists for item in ((ctypes.c_int32 * len(values))(*values), len(values))]
        entries, workspace_bytes = ctypes.c_int64(), ctypes.c_int64()
        numbers = (tables.windows, int(tables.ascending), batch, tokens, channels)
        made = self._library.make_match(*arrays, *numbers, ctypes.byref(entries), ctypes.byref(workspace_bytes))
        if not made:
            raise BuildError("TokenMatch", "the launcher refuses these tables", "choose another shape")
        match = ctypes.c_void_p(made)
        table = torch.empty(entries.value, dtype=torch.int32)
        self._library.copy_match_table(match, ctypes.c_void_p(table.data_ptr()))
        return match, table.cuda(), torch.empty(workspace_bytes.value, dtype=torch.uint8, device="cuda")

    @staticmethod
    def _decisions(batch: int, tables: MatchTables) -> tuple[Tensor, Tensor, Tensor]:
        return _indices(batch, tables.R), _indices(batch, tables.R), _indices(batch, max(tables.K, 1))

    def token_merge(
        self, x: Tensor, size: Tensor, source: Tensor, target: Tensor, kept: Tensor, tables: MatchTables
    ) -> Callable[[], tuple[Tensor, Tensor]]:
        """As `token_merge_reference`."""
        batch, tokens, width = x.shape
        destinations = torch.tensor(tables.destination_tokens, dtype=torch.int32, device="cuda")
        merged = torch.empty(batch, tables.tokens_out, width, dtype=x.dtype, device="cuda")
        merged_size = torch.empty(batch, tables.tokens_out, 1, device="cuda")
        numbers = (batch, tokens, width, tables.R, tables.K, tables.prefix, destinations.numel())
        arguments = (*numbers, x, size, source, target, kept, destinations, merged, merged_size)
        return self._launch("launch_token_merge", x, arguments, (merged, merged_size))

    def token_unmerge(self, tokens: Tensor, index: Tensor) -> Callable[[], Tensor]:
        """As `token_unmerge_reference`."""
        batch, count, width = tokens.shape
        rows = torch.empty(batch, index.shape[1], width, dtype=tokens.dtype, device="cuda")
        arguments = (batch, count, index.shape[1], width, tokens, index, rows)
        return self._launch("launch_token_unmerge", tokens, arguments, rows)

    def token_partition(self, score: Tensor, k: int) -> Callable[[], tuple[Tensor, Tensor]]:
        """As `token_partition_reference`."""
        batch, tokens = score.shape
        results = (_indices(batch, tokens - k), _indices(batch, k))
        return self._launch("launch_token_partition", score, (batch, tokens, k, score, *results), results)

    def token_protect_select(
        self, scores: Tensor, x: Tensor, rows: Tensor, alive: Tensor, k: int, per_class: int
    ) -> Callable[[], tuple[Tensor, Tensor, Tensor, Tensor]]:
        """As `token_protect_select_reference`."""
        batch, classes, tokens = scores.shape
        kept, left = (batch, tokens - k), (batch, k)
        gathered = (x.new_empty(*kept, x.shape[2]), rows.new_empty(*left, rows.shape[2]))
        results = (*gathered, _indices(*kept, 1), _indices(*left, 1))
        workspace = torch.empty(batch * tokens, dtype=torch.int64, device="cuda")
        numbers = (batch, classes, tokens, x.shape[2], rows.shape[2], k, per_class)
        arguments = (*numbers, scores, x, rows, alive, *results, workspace)
        return self._launch("launch_token_protect_select", scores, arguments, results)

    def upsample_argmax(
        self, scores: Tensor, height: int, width: int, candidates: int
    ) -> Callable[[], tuple[Tensor, Tensor]]:
        """As `upsample_argmax_reference`."""
        batch = scores.shape[0]
        results = (_indices(batch, height, width), _indices(batch))
        arguments = (*scores.shape, height, width, candidates, scores, *results)
        return self._launch("launch_upsample_argmax", scores, arguments, results)

    def _launch(
        self, name: str, typed: Tensor, arguments: tuple[object, ...], results: _Results
    ) -> Callable[[], _Results]:
        """``typed`` has the element type that the launcher is told; the closure keeps all tensors alive."""
        function = getattr(self._library, name)
        prepared = [_TYPES[typed.dtype], *(_pointer(item) if isinstance(item, Tensor) else item for item in arguments)]

        def launch(held: tuple[object, ...] = arguments) -> _Results:
            error = function(*prepared, ctypes.c_void_p(torch.cuda.current_stream().cuda_stream))
            if error:
                raise BuildError(name, f"CUDA error {error}", "check the architecture and the shapes")
            return results

        return launch


def _indices(*shape: int) -> Tensor:
    return torch.empty(shape, dtype=torch.int32, device="cuda")


def _pointer(tensor: Tensor) -> ctypes.c_void_p:
    assert tensor.is_cuda and tensor.is_contiguous()
    return ctypes.c_void_p(tensor.data_ptr())

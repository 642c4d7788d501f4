"""CUDA's runtime library through ctypes: streams, events, memory, copies and graphs, nothing else.

No package is needed for it, on a Jetson least of all: TensorRT brings libcudart. Every call's result is checked. Written from
NVIDIA's documentation of CUDA 12 and 13; tests run it against a library of their own that records the calls, and the names
against a real libcudart. On a GPU nothing of it has run.
"""

from __future__ import annotations

import ctypes
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from edgeexport.errors import BuildError, UsageError

__all__ = [
    "LIBRARIES",
    "CudaEvent",
    "CudaGraph",
    "CudaRuntime",
    "CudaStream",
    "DeviceBuffer",
    "HostBuffer",
    "open_cuda",
]

LIBRARIES = ("libcudart.so.13", "libcudart.so.12", "libcudart.so")

_TO_DEVICE, _TO_HOST = 1, 2  # cudaMemcpyKind
_NON_BLOCKING = 1  # cudaStreamNonBlocking: does not wait for the default stream
_RELAXED = 2  # cudaStreamCaptureModeRelaxed: what other threads call is no concern of a capture

_POINTER = ctypes.c_void_p
_OUT = ctypes.POINTER(ctypes.c_void_p)
_ERROR_TEXT = "cudaGetErrorString"
_FUNCTIONS: dict[str, tuple[Any, ...]] = {
    _ERROR_TEXT: (ctypes.c_int,),
    "cudaGetDeviceCount": (ctypes.POINTER(ctypes.c_int),),
    "cudaMalloc": (_OUT, ctypes.c_size_t),
    "cudaFree": (_POINTER,),
    "cudaMallocHost": (_OUT, ctypes.c_size_t),
    "cudaFreeHost": (_POINTER,),
    "cudaMemcpyAsync": (_POINTER, _POINTER, ctypes.c_size_t, ctypes.c_int, _POINTER),
    "cudaStreamCreateWithFlags": (_OUT, ctypes.c_uint),
    "cudaStreamSynchronize": (_POINTER,),
    "cudaStreamDestroy": (_POINTER,),
    "cudaStreamBeginCapture": (_POINTER, ctypes.c_int),
    "cudaStreamEndCapture": (_POINTER, _OUT),
    "cudaEventCreate": (_OUT,),
    "cudaEventRecord": (_POINTER, _POINTER),
    "cudaEventElapsedTime": (ctypes.POINTER(ctypes.c_float), _POINTER, _POINTER),
    "cudaEventDestroy": (_POINTER,),
    # cudaGraphInstantiate takes other arguments in CUDA 11 than in 12; this one is the same in all.
    "cudaGraphInstantiateWithFlags": (_OUT, _POINTER, ctypes.c_ulonglong),
    "cudaGraphLaunch": (_POINTER, _POINTER),
    "cudaGraphExecDestroy": (_POINTER,),
    "cudaGraphDestroy": (_POINTER,),
}


class CudaRuntime:
    """A loaded libcudart.

    Raises:
        UsageError: The library lacks a function.
    """

    def __init__(self, library: ctypes.CDLL, name: str) -> None:
        self.name = name
        self._library = library
        for function, arguments in _FUNCTIONS.items():
            try:
                entry = getattr(library, function)
            except AttributeError:
                problem = f"has no {function}, so it is no CUDA runtime from version 12 on"
                raise UsageError(name, problem, "install CUDA 12 or 13 (JetPack 6 carries it)") from None
            entry.argtypes = arguments
            entry.restype = ctypes.c_char_p if function == _ERROR_TEXT else ctypes.c_int

    def call(self, function: str, *arguments: Any) -> None:
        """Calls a function of `_FUNCTIONS`.

        Raises:
            BuildError: It tells an error, which the message names.
        """
        code = getattr(self._library, function)(*arguments)
        if code:
            raise BuildError(function, f"failed: {self.error_text(code)}", _remedy(code))

    def made(self, function: str, *arguments: Any) -> int:
        """Calls a function whose first argument takes the address of what it makes, and returns that."""
        result = ctypes.c_void_p()
        self.call(function, ctypes.byref(result), *arguments)
        if not result.value:
            raise BuildError(function, "succeeded and gave nothing", "look at the driver's log (dmesg)")
        return result.value

    def error_text(self, code: int) -> str:
        """The error's text and number."""
        text = getattr(self._library, _ERROR_TEXT)(code)
        return f"{text.decode(errors='replace') if text else 'unknown error'} ({code})"

    def device_count(self) -> int:
        """Number of GPUs."""
        count = ctypes.c_int()
        self.call("cudaGetDeviceCount", ctypes.byref(count))
        return count.value

    def released(self, owner: object, function: str, handle: int) -> None:
        """Calls ``function(handle)`` when ``owner`` goes, or the interpreter ends; what it returns can help no one then."""
        weakref.finalize(owner, getattr(self._library, function), handle)


class CudaStream:
    """A stream of its own; ``handle`` is its cudaStream_t."""

    def __init__(self, cuda: CudaRuntime) -> None:
        self._cuda = cuda
        self.handle = cuda.made("cudaStreamCreateWithFlags", _NON_BLOCKING)
        cuda.released(self, "cudaStreamDestroy", self.handle)

    def synchronize(self) -> None:
        """Waits until all work in the stream is done; tells the errors of that work too."""
        self._cuda.call("cudaStreamSynchronize", self.handle)

    def captured(self, enqueue: Callable[[], object]) -> CudaGraph:
        """Records what ``enqueue()`` puts into the stream, without executing it.

        Raises:
            BuildError: It cannot be captured. The capture has been ended in any case.
        """
        self._cuda.call("cudaStreamBeginCapture", self.handle, _RELAXED)
        graph = ctypes.c_void_p()
        try:
            enqueue()
        except BaseException:
            self._cuda._library.cudaStreamEndCapture(self.handle, ctypes.byref(graph))
            raise
        self._cuda.call("cudaStreamEndCapture", self.handle, ctypes.byref(graph))
        if not graph.value:
            raise BuildError("cudaStreamEndCapture", "succeeded and gave no graph", "run without a CUDA graph")
        return CudaGraph(self._cuda, self, graph.value)


class CudaEvent:
    """A moment in a stream."""

    def __init__(self, cuda: CudaRuntime) -> None:
        self._cuda = cuda
        self.handle = cuda.made("cudaEventCreate")
        cuda.released(self, "cudaEventDestroy", self.handle)

    def record(self, stream: CudaStream) -> None:
        """Marks the moment when the stream's work so far is done."""
        self._cuda.call("cudaEventRecord", self.handle, stream.handle)

    def ms_since(self, earlier: CudaEvent) -> float:
        """Milliseconds between two moments that have passed."""
        ms = ctypes.c_float()
        self._cuda.call("cudaEventElapsedTime", ctypes.byref(ms), earlier.handle, self.handle)
        return ms.value


class CudaGraph:
    """Captured work, ready to be launched as often as wanted."""

    def __init__(self, cuda: CudaRuntime, stream: CudaStream, graph: int) -> None:
        self._cuda = cuda
        self._stream = stream
        try:
            self._executable = cuda.made("cudaGraphInstantiateWithFlags", graph, 0)
        finally:
            cuda._library.cudaGraphDestroy(graph)
        cuda.released(self, "cudaGraphExecDestroy", self._executable)

    def launch(self) -> None:
        """Puts the work into the stream that it was captured from."""
        self._cuda.call("cudaGraphLaunch", self._executable, self._stream.handle)


class DeviceBuffer:
    """Memory of the GPU; ``address`` of its first byte."""

    def __init__(self, cuda: CudaRuntime, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self.address = cuda.made("cudaMalloc", max(size_bytes, 1))
        self._cuda = cuda
        cuda.released(self, "cudaFree", self.address)

    def copy_from(self, host: HostBuffer, stream: CudaStream) -> None:
        """Puts a copy to the GPU into the stream."""
        self._cuda.call("cudaMemcpyAsync", self.address, host.address, self.size_bytes, _TO_DEVICE, stream.handle)

    def copy_to(self, host: HostBuffer, stream: CudaStream) -> None:
        """Puts a copy from the GPU into the stream."""
        self._cuda.call("cudaMemcpyAsync", host.address, self.address, self.size_bytes, _TO_HOST, stream.handle)


class HostBuffer:
    """Page-locked memory of the host, which alone can be copied without waiting, as the array ``values``."""

    def __init__(self, cuda: CudaRuntime, shape: tuple[int, ...], dtype: DTypeLike) -> None:
        kind = np.dtype(dtype)
        self.size_bytes = int(np.prod(shape, dtype=np.int64)) * kind.itemsize
        self.address = cuda.made("cudaMallocHost", max(self.size_bytes, 1))
        cuda.released(self, "cudaFreeHost", self.address)
        memory = (ctypes.c_ubyte * self.size_bytes).from_address(self.address)
        self.values: NDArray = np.frombuffer(memoryview(memory), dtype=kind).reshape(shape)


def open_cuda(names: Iterable[str] | None = None) -> CudaRuntime:
    """The first libcudart that loads and finds a GPU.

    Several may be installed, of which the driver takes those that are not newer than itself.

    Args:
        names: Libraries to try; None: by the loader's search, then of the toolkit, then of NVIDIA's wheels.

    Raises:
        UsageError: None does; the message says why for each that is there.
    """
    failures: list[str] = []
    for name in _candidates() if names is None else names:
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        try:
            runtime = CudaRuntime(library, name)
            if runtime.device_count() > 0:
                return runtime
            failures.append(f"{name} finds no GPU")
        except (BuildError, UsageError) as error:
            failures.append(f"{name}: {error.where} {error.problem}")
    problem = f"none of them can be used: {'; '.join(failures)}" if failures else "was not found"
    remedy = "use a machine with an NVIDIA GPU and its driver, and CUDA 12 or 13; in docker give --runtime nvidia"
    raise UsageError("CUDA runtime (libcudart)", problem, remedy)


def _candidates() -> Iterator[str]:
    yield from LIBRARIES
    folders = [Path("/usr/local/cuda/lib64")]
    for entry in sys.path:
        if Path(entry).name in ("site-packages", "dist-packages"):
            folders += sorted(Path(entry).glob("nvidia/*/lib"), reverse=True)
    for folder in folders:
        yield from (str(folder / name) for name in LIBRARIES if (folder / name).is_file())


def _remedy(code: int) -> str:
    if code == 2:  # cudaErrorMemoryAllocation
        return "free memory of the GPU: stop other programs, or use a smaller batch or model"
    return "look at the driver's log (dmesg); a failed kernel leaves the process unusable, start it again"

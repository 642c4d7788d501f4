"""`stub_cudart.c`, compiled and loaded: a real shared library in the place of CUDA's runtime."""

from __future__ import annotations

import ctypes
import functools
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeexport.backends.cuda_runtime import CudaRuntime

__all__ = ["StubCudart", "requires_compiler"]

_SOURCE = Path(__file__).with_name("stub_cudart.c")
_COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")

requires_compiler = pytest.mark.skipif(_COMPILER is None, reason="there is no C compiler")


class StubCudart:
    """One fresh state of the library; there is one library per process."""

    def __init__(self) -> None:
        self.path = str(_compiled())
        self.stub = ctypes.CDLL(self.path)
        self.stub.stub_log.restype = ctypes.c_char_p
        self.stub.stub_fail.argtypes = (ctypes.c_char_p, ctypes.c_int, ctypes.c_int)
        self.stub.stub_reset()
        self._callback: object = None

    @property
    def runtime(self) -> CudaRuntime:
        """The library as the backend sees it."""
        return CudaRuntime(ctypes.CDLL(self.path), self.path)

    @property
    def calls(self) -> list[str]:
        """Every call since the last reset, with what is worth knowing of its arguments."""
        return self.stub.stub_log().decode().splitlines()

    @property
    def live(self) -> int:
        """Handles and allocations that were made and not given back."""
        return int(self.stub.stub_live())

    @property
    def capturing(self) -> bool:
        """Whether a capture has begun and not ended."""
        return bool(self.stub.stub_capturing())

    def devices(self, count: int) -> None:
        """Number of GPUs that it tells."""
        self.stub.stub_devices(count)

    def fail(self, function: str, code: int, after: int = 0) -> None:
        """Lets a function return ``code``, from its call number ``after`` on."""
        self.stub.stub_fail(function.encode(), code, after)

    def on_launch(self, function: Callable[[], None]) -> None:
        """What launching a graph does."""
        self._callback = ctypes.CFUNCTYPE(None)(function)
        self.stub.stub_on_launch(self._callback)


@functools.cache
def _compiled() -> Path:
    folder = tempfile.mkdtemp(prefix="edgeexport-cudart-")
    file = Path(folder) / "libcudart.so.12"
    command = [str(_COMPILER), "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o", str(file), str(_SOURCE)]
    subprocess.run(command, check=True)
    return file

"""CUDA's runtime through ctypes, against a compiled library that records the calls; and the names against a real one."""

from __future__ import annotations

import ctypes
import gc
from pathlib import Path

import numpy as np
import pytest
from cudart_stub import StubCudart, requires_compiler

from edgeexport.backends import cuda_runtime
from edgeexport.backends.cuda_runtime import (
    CudaEvent,
    CudaRuntime,
    CudaStream,
    DeviceBuffer,
    HostBuffer,
    open_cuda,
)
from edgeexport.errors import BuildError, UsageError

pytestmark = requires_compiler


@pytest.fixture
def stub() -> StubCudart:
    gc.collect()  # what an earlier test left is given back before the log is emptied
    return StubCudart()


def test_copies_go_there_and_back(stub: StubCudart) -> None:
    cuda = stub.runtime
    stream = CudaStream(cuda)
    sent, returned = HostBuffer(cuda, (2, 3), np.float32), HostBuffer(cuda, (2, 3), np.float32)
    device = DeviceBuffer(cuda, sent.size_bytes)
    sent.values[:] = np.arange(6).reshape(2, 3)
    device.copy_from(sent, stream)
    sent.values[:] = 0
    device.copy_to(returned, stream)
    stream.synchronize()
    np.testing.assert_array_equal(returned.values, np.arange(6).reshape(2, 3))
    assert stub.calls == [
        "cudaStreamCreateWithFlags non-blocking",
        "cudaMallocHost 24",
        "cudaMallocHost 24",
        "cudaMalloc 24",
        "cudaMemcpyAsync to-device 24",
        "cudaMemcpyAsync to-host 24",
        "cudaStreamSynchronize",
    ]


def test_everything_is_given_back(stub: StubCudart) -> None:
    before = stub.live
    cuda = stub.runtime
    stream = CudaStream(cuda)
    made = [CudaEvent(cuda), HostBuffer(cuda, (4,), np.uint8), DeviceBuffer(cuda, 4), stream.captured(lambda: None)]
    assert stub.live == before + 5  # the graph itself went when it was instantiated
    del made, stream
    gc.collect()
    assert stub.live == before
    assert {"cudaStreamDestroy", "cudaEventDestroy", "cudaFreeHost", "cudaFree", "cudaGraphExecDestroy"} <= set(
        stub.calls
    )


def test_events_are_milliseconds_apart(stub: StubCudart) -> None:
    cuda = stub.runtime
    stream, first, second = CudaStream(cuda), CudaEvent(cuda), CudaEvent(cuda)
    first.record(stream)
    CudaEvent(cuda).record(stream)
    second.record(stream)
    assert second.ms_since(first) == 2.0
    assert "no-stream" not in " ".join(stub.calls)


def test_capture_and_launch(stub: StubCudart) -> None:
    launches: list[bool] = []
    stub.on_launch(lambda: launches.append(True))
    stream = CudaStream(stub.runtime)
    seen: list[bool] = []
    graph = stream.captured(lambda: seen.append(stub.capturing))
    assert seen == [True] and not stub.capturing and not launches
    graph.launch()
    graph.launch()
    assert len(launches) == 2
    assert stub.calls[1:] == [
        "cudaStreamBeginCapture relaxed",
        "cudaStreamEndCapture",
        "cudaGraphInstantiateWithFlags",
        "cudaGraphDestroy",
        "cudaGraphLaunch",
        "cudaGraphLaunch",
    ]


def test_failed_capture_is_ended(stub: StubCudart) -> None:
    stream = CudaStream(stub.runtime)

    def work() -> None:
        raise BuildError("the engine", "does not execute")

    with pytest.raises(BuildError, match="does not execute"):
        stream.captured(work)
    assert not stub.capturing


@pytest.mark.parametrize(
    "function",
    [
        "cudaStreamCreateWithFlags",
        "cudaMalloc",
        "cudaMallocHost",
        "cudaEventCreate",
        "cudaEventRecord",
        "cudaEventElapsedTime",
        "cudaMemcpyAsync",
        "cudaStreamSynchronize",
        "cudaStreamBeginCapture",
        "cudaStreamEndCapture",
        "cudaGraphInstantiateWithFlags",
        "cudaGraphLaunch",
    ],
)
def test_every_call_is_checked(stub: StubCudart, function: str) -> None:
    stub.fail(function, 999)
    cuda = stub.runtime
    with pytest.raises(BuildError) as caught:
        stream = CudaStream(cuda)
        begin, end = CudaEvent(cuda), CudaEvent(cuda)
        host, device = HostBuffer(cuda, (1,), np.int32), DeviceBuffer(cuda, 4)
        begin.record(stream)
        device.copy_from(host, stream)
        stream.captured(lambda: None).launch()
        end.record(stream)
        stream.synchronize()
        end.ms_since(begin)
    assert caught.value.where == function and caught.value.problem == "failed: unknown error (999)"
    assert caught.value.remedy and not stub.capturing


def test_too_little_memory(stub: StubCudart) -> None:
    stub.fail("cudaMalloc", 2)
    with pytest.raises(BuildError) as caught:
        DeviceBuffer(stub.runtime, 1 << 20)
    assert caught.value.problem == "failed: out of memory (2)" and "free memory of the GPU" in caught.value.remedy
    assert caught.value.exit_code == 5


def test_empty_tensor_has_an_address(stub: StubCudart) -> None:
    assert HostBuffer(stub.runtime, (0, 3), np.float32).values.shape == (0, 3)


# --- Which library ---


def test_first_library_that_finds_a_gpu(stub: StubCudart) -> None:
    assert open_cuda(["libno-such-library.so", stub.path]).name == stub.path
    stub.devices(0)
    with pytest.raises(UsageError) as caught:
        open_cuda([stub.path])
    assert caught.value.problem == f"none of them can be used: {stub.path} finds no GPU"


def test_driver_too_old_for_a_library(stub: StubCudart) -> None:
    stub.fail("cudaGetDeviceCount", 35)
    with pytest.raises(UsageError, match=r"cudaGetDeviceCount failed: an error \(35\)"):
        open_cuda([stub.path])


def test_no_library_at_all() -> None:
    with pytest.raises(UsageError) as caught:
        open_cuda(["libno-such-library.so"])
    assert caught.value.problem == "was not found" and "--runtime nvidia" in caught.value.remedy


def test_library_of_another_kind() -> None:
    with pytest.raises(UsageError, match="so it is no CUDA runtime from version 12 on"):
        CudaRuntime(ctypes.CDLL("libc.so.6"), "libc.so.6")


def test_names_are_those_of_a_real_libcudart() -> None:
    """Of NVIDIA's wheel or toolkit; without a driver it loads and tells an error, which is one more real call."""
    real = [name for name in cuda_runtime._candidates() if Path(name).is_file() or _loads(name)]
    if not real:
        pytest.skip("no libcudart is installed")
    runtime = CudaRuntime(ctypes.CDLL(real[0]), real[0])
    assert runtime.error_text(2) == "out of memory (2)"
    try:
        assert runtime.device_count() >= 0
    except BuildError as error:
        assert error.where == "cudaGetDeviceCount" and "failed: " in error.problem


def _loads(name: str) -> bool:
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True

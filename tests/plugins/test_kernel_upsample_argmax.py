"""The kernel of UpsampleArgmax, unchanged, run by a stand-in for CUDA on the CPU (`cuda_on_cpu/`), against the op."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from edgeexport.ops.upsample_argmax import upsample_argmax_reference

_HERE = Path(__file__).parent / "cuda_on_cpu"
_SOURCES = Path(__file__).parents[2] / "plugins"
_FLAGS = ["-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas", "-Wno-clobbered"]


@pytest.fixture(scope="session")
def kernel_library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("no g++")
    library = tmp_path_factory.mktemp("kernel") / "libkernel.so"
    source = _HERE / "run_upsample_argmax.cpp"
    command = [compiler, *_FLAGS, "-fPIC", "-shared", f"-I{_HERE}", f"-I{_SOURCES}", source, "-o", library]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return ctypes.CDLL(str(library))


def run(
    library: ctypes.CDLL, scores: Tensor, height: int, width: int, candidates: int, cells: int, backward: bool
) -> tuple[Tensor, Tensor]:
    """Between guards, which must stay; what is not written stays -7."""
    batch, classes, h, w = scores.shape
    held = np.ascontiguousarray(scores.numpy())
    guarded = np.full((batch * height * width + 16) + (batch + 16), -7, np.int32)
    class_map = guarded[8 : 8 + batch * height * width]
    uncertified = guarded[-8 - batch : -8]
    uncertified[:] = 0  # the launcher clears it
    pointers = [ctypes.c_void_p(array.ctypes.data) for array in (held, class_map, uncertified)]
    numbers = (int(scores.dtype == torch.float16), batch, classes, h, w, height, width, candidates, cells, backward)
    status = library.run_upsample_argmax(pointers[0], *(ctypes.c_int32(number) for number in numbers), *pointers[1:])
    assert status == 0
    guards = [guarded[:8], guarded[8 + class_map.size : -8 - batch], guarded[-8:]]
    assert all((guard == -7).all() for guard in guards)
    return torch.from_numpy(class_map.reshape(batch, height, width)), torch.from_numpy(uncertified)


@settings(deadline=None, max_examples=60)
@given(
    st.tuples(st.integers(1, 2), st.integers(2, 70), st.integers(1, 3), st.integers(1, 18), st.integers(1, 13)),
    st.integers(1, 70),
    st.sampled_from([1, 2, 8]),
    st.booleans(),
    st.sampled_from(["random", "levels"]),
    st.booleans(),
    st.integers(0, 2**31),
)
def test_kernel_equals_reference(
    kernel_library: ctypes.CDLL,
    size: tuple[int, ...],
    candidates: int,
    cells: int,
    backward: bool,
    kind: str,
    half: bool,
    seed: int,
) -> None:
    batch, classes, h, w, factor = size
    height, width = h * factor, w * factor
    generator = torch.Generator().manual_seed(seed)
    if kind == "levels":  # both zeros, ties everywhere
        scores = torch.randint(-2, 3, (batch, classes, h, w), generator=generator) * torch.tensor(-0.5)
    else:
        scores = torch.randn(batch, classes, h, w, generator=generator)
    scores = scores.half() if half else scores
    class_map, uncertified = run(kernel_library, scores, height, width, candidates, cells, backward)
    scores = scores.float()
    expected, expected_uncertified = upsample_argmax_reference(scores, height, width, candidates)
    if candidates < classes and factor > 1:
        assert torch.equal(class_map, expected)
        assert torch.equal(uncertified, expected_uncertified)
        return
    best = F.interpolate(scores, size=(height, width), mode="bilinear", align_corners=False).topk(2, dim=1).values
    clear = best[:, 0] - best[:, 1] > 1e-5  # torch's own interpolation rounds in another order
    assert torch.equal(class_map[clear], expected[clear])
    assert ((class_map >= 0) & (class_map < classes)).all()
    assert not uncertified.any()


@pytest.mark.parametrize("candidates", [1, 16, 149, 150])
def test_kernel_at_ade20k_classes(kernel_library: ctypes.CDLL, candidates: int) -> None:
    """Two groups of cells per row, the second with one cell; classes that do not fill the last round of a warp."""
    scores = torch.rand(1, 150, 2, 8, generator=torch.Generator().manual_seed(7))
    found = [run(kernel_library, scores, 32, 128, candidates, 8, backward) for backward in (False, True)]
    expected = upsample_argmax_reference(scores, 32, 128, candidates)
    assert torch.equal(found[0][0], found[1][0]) and torch.equal(found[0][1], found[1][1])
    assert (found[0][0] != expected[0]).float().mean() < (1e-3 if candidates == 150 else 1e-9)
    assert torch.equal(found[0][1], expected[1])


def test_kernel_is_memory_safe_for_nan_and_infinity(kernel_library: ctypes.CDLL) -> None:
    """TensorRT times plugins on arbitrary memory: every pixel gets some class, nothing else is written."""
    scores = torch.randn(1, 40, 2, 3, generator=torch.Generator().manual_seed(1))
    scores[0, ::3, 0] = torch.nan
    scores[0, 1::3, :, 1] = torch.inf
    scores[0, 2::5] = -torch.inf
    scores[0, 7] = -torch.tensor(torch.nan)
    for values in (scores, torch.full_like(scores, torch.nan), torch.full_like(scores, -torch.inf)):
        for candidates in (1, 5, 39, 40):
            class_map, uncertified = run(kernel_library, values, 8, 12, candidates, 2, False)
            assert ((class_map >= 0) & (class_map < 40)).all()
            assert 0 <= int(uncertified[0]) <= 96

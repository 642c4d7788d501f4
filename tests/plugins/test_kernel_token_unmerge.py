"""The kernel of TokenUnmerge, unchanged, run thread by thread on the CPU (`cuda_on_cpu/`), against the op."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from arrays import address, call
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from edgeexport.ops.token_unmerge import token_unmerge_reference

_SOURCES = Path(__file__).parents[2] / "plugins"
_THREADS = 256


@pytest.fixture(scope="session")
def kernel_library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("no g++ on this machine to compile the kernel with")
    library = tmp_path_factory.mktemp("kernel") / "libtoken_unmerge.so"
    source = Path(__file__).parent / "cuda_on_cpu" / "run_token_unmerge.cpp"
    flags = ["-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas", "-fPIC", "-shared"]
    command = [compiler, *flags, f"-I{_SOURCES}", str(source), "-o", str(library)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return ctypes.CDLL(str(library))


def run(library: ctypes.CDLL, tokens: Tensor, index: Tensor, piece_bytes: int) -> Tensor:
    """Rows of int16; what is not written, within them or behind them, shows as -7."""
    batch, n, width = tokens.shape
    size = batch * index.shape[1] * width
    rows = torch.full((size + 64,), -7, dtype=torch.int16)
    numbers = (batch, n, index.shape[1], 2 * width, piece_bytes)
    assert call(library, "run_token_unmerge", address(tokens), address(index), address(rows), *numbers) == _THREADS
    assert (rows[size:] == -7).all()
    return rows[:size].reshape(batch, -1, width)


@settings(deadline=None, max_examples=80)
@given(
    piece_bytes=st.sampled_from([2, 4, 8, 16]),
    pieces=st.integers(1, 70) | st.sampled_from([96, 127, 128, 129, 192, 1024, 1025, 1100]),
    batch=st.integers(1, 3),
    n=st.integers(1, 9),
    m=st.integers(1, 12) | st.just(300),
    seed=st.integers(0, 2**16),
)
def test_equals_the_torch_reference(
    kernel_library: ctypes.CDLL, piece_bytes: int, pieces: int, batch: int, n: int, m: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    width = pieces * piece_bytes // 2
    tokens = torch.randint(-(2**15), 2**15, (batch, n, width), generator=generator).to(torch.int16)
    index = torch.randint(n, (batch, m), generator=generator).to(torch.int32)
    assert torch.equal(run(kernel_library, tokens, index, piece_bytes), token_unmerge_reference(tokens, index))


@pytest.mark.parametrize("wrong", [-1, 4, 2**31 - 1, -(2**31)])
@pytest.mark.parametrize("piece_bytes", [2, 16])
def test_an_index_outside_gives_zeros(kernel_library: ctypes.CDLL, piece_bytes: int, wrong: int) -> None:
    """TensorRT times kernels on arbitrary memory: they must not leave theirs."""
    tokens = torch.ones(2, 4, 24, dtype=torch.int16)
    found = run(kernel_library, tokens, torch.tensor([[0, wrong], [wrong, 3]], dtype=torch.int32), piece_bytes)
    assert found[:, :, 0].tolist() == [[1, 0], [0, 1]]
    assert torch.equal(found, found[:, :, :1].expand(-1, -1, 24))

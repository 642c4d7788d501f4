"""The CPU references, and the kernels' shared steps, under AddressSanitizer and UndefinedBehaviorSanitizer."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from library_cases import cpu_check_program, run_checked, sanitized_cpu_library, sanitizing_compiler

OVERRUN = """
#include <cstdint>
#include <vector>
extern "C" int edgeexport_cpu_token_unmerge(void const*, int32_t const*, void*, int32_t, int32_t, int32_t, int32_t, int32_t);
int main() {
    std::vector<float> tokens(11);  // one less than 2 * 3 * 2
    std::vector<int32_t> index{2, 0, 1, 2, 1, 2};
    std::vector<float> rows(12);
    return edgeexport_cpu_token_unmerge(tokens.data(), index.data(), rows.data(), 2, 3, 3, 2, 0);
}
"""


def test_fixed_cases_are_clean() -> None:
    done = run_checked(cpu_check_program())
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stderr == ""
    assert int(done.stdout) > 1000


def test_sanitizer_sees_an_access_beyond_a_tensor(tmp_path: Path) -> None:
    """The library itself is instrumented: without that, the test above proves nothing."""
    source, program, library = tmp_path / "overrun.cpp", tmp_path / "overrun", sanitized_cpu_library()
    source.write_text(OVERRUN)
    compiler = str(sanitizing_compiler().path)
    command = [compiler, "-fsanitize=address", source, library, f"-Wl,-rpath,{library.parent}", "-o", program]
    subprocess.run(command, check=True, capture_output=True)
    done = run_checked(program)
    assert done.returncode != 0 and "heap-buffer-overflow" in done.stderr


@pytest.mark.parametrize("symbol", ["__asan_init", "__ubsan_handle_add_overflow_abort"])
def test_library_is_instrumented(symbol: str) -> None:
    assert symbol.encode() in sanitized_cpu_library().read_bytes()

"""The CPU references of all plugins as one library, and the plugin library, built where something changed."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

import pytest

# What the tests of the ops build on (op_models, match_cases) serves those of their plugins too.
sys.path.append(str(Path(__file__).parents[1] / "ops"))


@pytest.fixture(scope="session")
def cpu_library() -> ctypes.CDLL:
    """Functions ``edgeexport_cpu_<op>``, which return 0 or a number of plugins/common/status.h.

    With EDGEEXPORT_CPU_LIBRARY set, the library at that path (one with sanitizers, say) is taken as it is.
    """
    given = os.environ.get("EDGEEXPORT_CPU_LIBRARY")
    if given:
        return ctypes.CDLL(given)
    from library_cases import cpu_library_file

    return ctypes.CDLL(str(cpu_library_file()))


@pytest.fixture(scope="session")
def plugin_library() -> Path:
    """The plugin library for sm_87; compiled once and kept until a source changes (`library_cases`)."""
    from library_cases import the_library

    return the_library()

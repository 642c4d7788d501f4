"""Child processes: started in a folder of ours, and a Python without the modules of the folder that the user is in.

Python looks for modules in the current folder first (``-c``, ``-m``, an empty entry of PYTHONPATH): a json.py that lies
there, in an unpacked bundle or a data set, would run. Every child Python is started by `python_command`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from edgeexport.device.remains import temporary_folder

__all__ = ["finished", "output_of", "python_command"]

_PACKAGE_ROOT = str(Path(__file__).resolve().parents[2])


def python_command(code: str, *arguments: str) -> list[str]:
    """The command that runs ``code`` in another Python, with ``arguments`` in its sys.argv from 1 on.

    It is isolated (-I, which Python 3.10 has too) and gets the search path of this process, without the current folder and
    with this package last.
    """
    here = os.path.realpath(os.curdir)
    folders = [entry for entry in sys.path if Path(entry).is_absolute() and os.path.realpath(entry) != here]
    given = f"given = {[*folders, _PACKAGE_ROOT]!r}"
    path = "sys.path[:] = given[:-1] + [entry for entry in sys.path if entry not in given] + given[-1:]"
    return [sys.executable, "-I", "-c", f"import sys; {given}; {path}\n{code}", *arguments]


def finished(
    command: Sequence[str],
    timeout_s: float,
    *,
    errors: int = subprocess.PIPE,
    on_start: Callable[[subprocess.Popen[str]], None] = lambda child: None,
) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end, in an empty folder that is removed afterwards.

    Args:
        command: Its program, and its arguments; paths among them are absolute.
        timeout_s: After so many seconds it is killed.
        errors: Where its standard error goes, as `subprocess.run` takes it.
        on_start: Called with the child, for whoever may have to end it from another thread.

    Raises:
        OSError: It cannot be started.
        subprocess.TimeoutExpired: It took longer.
    """
    with temporary_folder() as folder:
        child = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            errors="replace",
            cwd=folder,
        )
        with child:
            try:
                on_start(child)
                output, told = child.communicate(timeout=timeout_s)
            except BaseException:
                child.kill()
                child.wait()
                raise
        return subprocess.CompletedProcess(list(command), child.returncode, output, told)


def output_of(command: Sequence[str], timeout_s: float, *, with_errors: bool = False) -> str | None:
    """Standard output of a command that ended well in time, else None; ``with_errors``: its standard error as well."""
    try:
        done = finished(command, timeout_s, errors=subprocess.STDOUT if with_errors else subprocess.DEVNULL)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout if done.returncode == 0 else None

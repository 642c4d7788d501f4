"""Runs commands of edgeexport in forked processes, which end themselves by a signal at the N-th change of the file system.

`test_kills.py` starts it with the names of modules to import, so that imports are paid once. Reads a JSON object per line:
``arguments``, ``folder`` to work in, ``environ``, ``signal`` and ``instant`` (0: never), ``log``. Answers with one: ``code``
(negative: the signal's number) and ``changes``.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

from edgeexport.cli import main

CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.truncate", "ctypes.dlopen")
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Countdown:
    """Counts changes below a folder, and sends this process a signal before the N-th."""

    def __init__(self, folder: str, instant: int, number: int) -> None:
        self.folder, self.instant, self.number, self.changes = folder, instant, number, 0

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            counts = isinstance(flags, int) and bool(flags & _WRITES) and self._below(path)
        else:
            counts = event in CHANGES and (event == "ctypes.dlopen" or self._below(arguments[0]))
        if counts:
            self.changes += 1
            if self.changes == self.instant:
                os.kill(os.getpid(), self.number)

    def _below(self, path: object) -> bool:
        if isinstance(path, int):
            return True
        return isinstance(path, str | bytes | os.PathLike) and (
            not Path(os.fsdecode(path)).is_absolute() or os.fsdecode(path).startswith(self.folder)
        )


def run(asked: dict[str, Any], answers: int) -> None:
    folder = asked["folder"]
    log = os.open(asked["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.chdir(folder)
    tempfile.tempdir = None
    os.environ.update(asked["environ"])
    sys.argv = ["edgeexport", *asked["arguments"]]
    countdown = Countdown(str(Path(folder).parent), asked["instant"], asked["signal"])
    sys.addaudithook(countdown)
    code = 1
    try:
        main()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 0
    except BaseException:
        traceback.print_exc()
    os.write(answers, json.dumps({"changes": countdown.changes}).encode())
    os._exit(code)


def serve() -> None:
    for name in sys.argv[1:]:
        importlib.import_module(name)
    for line in sys.stdin:
        asked = json.loads(line)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            run(asked, writing)
        os.close(writing)
        with os.fdopen(reading, "rb") as stream:
            told = stream.read()
        _, status = os.waitpid(child, 0)
        answer = {"code": os.waitstatus_to_exitcode(status), **(json.loads(told) if told else {"changes": 0})}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve()

"""Stand-ins for nvpmodel, jetson_clocks and sudo: they keep their state in files, and write down how they were called."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "jetson" / "with-clocks.sh"

_NVPMODEL = """#!/usr/bin/env bash
device="$(dirname "$0")/../device"
echo "nvpmodel $*" >> "$device/log"
case "$1" in
-q) printf 'NV Power Mode: %s\\n%s\\n' "$(cat "$device/mode")" "$(cat "$device/mode")" ;;
-m)
    if [ -e "$device/mode-fails" ]; then echo "NVPM ERROR: failed to set power mode!"; exit 255; fi
    if [ -e "$device/needs-reboot" ]; then
        read -r answer
        echo "NVPM WARN: Reboot required for changing to this power mode: $2"
        echo "answered $answer" >> "$device/log"
        [ "$answer" = no ] || touch "$device/rebooted"
        exit 0
    fi
    if [ -e "$device/slow-mode" ]; then touch "$device/setting-mode"; sleep 1; fi
    echo "$2" > "$device/mode"
    ;;
esac
"""
_JETSON_CLOCKS = """#!/usr/bin/env bash
device="$(dirname "$0")/../device"
echo "jetson_clocks ${1:-} ${2:+FILE}" >> "$device/log"
case "${1:-}" in
--store)
    if [ -e "$2" ]; then echo "exists"; exit 1; fi
    echo "of mode $(cat "$device/mode"): $(cat "$device/clocks")" > "$2"
    ;;
--restore)
    if [ -e "$device/restore-fails" ]; then exit 1; fi
    # Clocks that were stored in another mode do not fit.
    case "$(cat "$2")" in
    "of mode $(cat "$device/mode"): "*) sed 's/^of mode [0-9]*: //' "$2" > "$device/clocks" ;;
    *) echo "stored in another mode" > "$device/clocks" ;;
    esac
    ;;
--show) cat "$device/clocks" ;;
*)
    if [ -e "$device/pin-fails" ]; then exit 1; fi
    echo pinned > "$device/clocks"
    ;;
esac
"""
_SUDO = """#!/usr/bin/env bash
device="$(dirname "$0")/../device"
echo "sudo $*" >> "$device/log"
while [ $# -gt 0 ]; do
    case "$1" in
    --) shift; exec "$@" ;;
    --validate) exit 0 ;;
    *) shift ;;
    esac
done
"""
_CONFIG = """# a comment
< PARAM TYPE=CLOCK NAME=CPU_A78_0 >
< POWER_MODEL ID=0 NAME=MAXN >
CPU_ONLINE CORE_0 1
< POWER_MODEL ID=2 NAME=MODE_30W >
< POWER_MODEL ID=3 NAME=MODE_50W >
< PM_CONFIG DEFAULT=2 >
"""


@dataclass(frozen=True)
class FakeDevice:
    """A device in mode 2 with free clocks, and the programs of a Jetson in ``folder``/bin."""

    folder: Path

    @property
    def mode(self) -> str:
        return self._text("mode")

    @property
    def clocks(self) -> str:
        return self._text("clocks")

    @property
    def untouched(self) -> bool:
        return (self.mode, self.clocks) == ("2", "free")

    @property
    def log(self) -> list[str]:
        path = self.folder / "device" / "log"
        return path.read_text().splitlines() if path.exists() else []

    @property
    def left_over(self) -> list[Path]:
        return list((self.folder / "tmp").iterdir())

    def mark(self, name: str) -> None:
        (self.folder / "device" / name).touch()

    def start(self, *arguments: object, script: Path = SCRIPT, user: int | None = None) -> subprocess.Popen[str]:
        environment = {
            **os.environ,
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "TMPDIR": str(self.folder / "tmp"),
            "NVPMODEL_CONF": str(self.folder / "nvpmodel.conf"),
        }
        return subprocess.Popen(
            [str(script), *map(str, arguments)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.PIPE,
            text=True,
            user=user,
            group=user,
            extra_groups=None if user is None else [],
            preexec_fn=_heed_signals,
        )

    def run(self, *arguments: object, user: int | None = None) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments, user=user)
        out, err = process.communicate(timeout=60)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def _text(self, name: str) -> str:
        return (self.folder / "device" / name).read_text().strip()


def _heed_signals() -> None:
    """A test run in the background ignores SIGINT, under nohup SIGHUP, and children would, too."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


def fake_device(folder: Path) -> FakeDevice:
    (folder / "bin").mkdir()
    (folder / "device").mkdir()
    (folder / "tmp").mkdir()
    for name, text in (("nvpmodel", _NVPMODEL), ("jetson_clocks", _JETSON_CLOCKS), ("sudo", _SUDO)):
        (folder / "bin" / name).write_text(text)
        (folder / "bin" / name).chmod(0o755)
    (folder / "device" / "mode").write_text("2\n")
    (folder / "device" / "clocks").write_text("free\n")
    (folder / "nvpmodel.conf").write_text(_CONFIG)
    return FakeDevice(folder)


def worker(folder: Path, *, on_signal: str = "exit(3)") -> list[str]:
    """A command that writes ``started``, waits, and on SIGINT or SIGTERM writes which into ``got`` and does ``on_signal``."""
    code = (
        "import pathlib, signal, sys, time\n"
        f"folder = pathlib.Path({str(folder)!r})\n"
        "def handle(number, frame):\n"
        "    with (folder / 'got').open('a') as file: file.write(signal.Signals(number).name + '\\n')\n"
        f"    {on_signal}\n"
        "for name in ('SIGINT', 'SIGTERM', 'SIGHUP'): signal.signal(getattr(signal, name), handle)\n"
        "(folder / 'started').touch()\n"
        "time.sleep(120)\n"
    )
    return [sys.executable, "-c", code]


def wait_for(path: Path, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.02)

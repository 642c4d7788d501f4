"""What devices and their tools print."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from base import command, replaced
from damage import apply_bytes, apply_document, byte_edits, document_edits
from hypothesis import strategies as st
from kind import Kind

__all__ = ["DEVICE_KINDS"]


def _trees(base: Path) -> st.SearchStrategy[Any]:
    files = sorted(str(path.relative_to(base / "orin")) for path in (base / "orin").rglob("*") if path.is_file())
    texts = st.sampled_from(
        ["", "0", "-1", "9" * 30, "nan", "x", "\0", "1 2", "0x10", "٣", "²", "N/A", "9" * 5000]
    ) | st.text(max_size=8)
    return st.fixed_dictionaries(
        {
            "files": st.lists(st.tuples(st.sampled_from(files), texts | byte_edits), min_size=1, max_size=4),
            "smi": st.sampled_from(["", "1,2,3,0x8", "1,2,3", "inf,nan,1e400,zz", "²,٣,-1,0x"])
            | st.text("0123456789,.-xN/A \nef", max_size=20),
        }
    )


def _read_tree(damage: Any, folder: Path) -> None:
    from edgeexport.device.conditions import instabilities, read_conditions
    from edgeexport.device.discrete_gpu import read_discrete_gpu
    from edgeexport.device.fit import why_not_this_machine
    from edgeexport.device.machine import find_jetson
    from edgeexport.device.power import find_rails
    from edgeexport.device.targets import TARGETS

    root = folder / "orin"
    for name, change in damage["files"]:
        content = (
            change.encode(errors="replace")
            if isinstance(change, str)
            else apply_bytes((root / name).read_bytes(), change)
        )
        replaced(root / name, content)
    conditions = read_conditions(root, discrete_gpu=False)
    instabilities([conditions, replace(conditions)])
    json.dumps(conditions.as_dict(), allow_nan=False)
    find_jetson(root)
    find_rails(root).watts()
    why_not_this_machine(next(iter(TARGETS.values() if isinstance(TARGETS, dict) else TARGETS)), root)
    read_discrete_gpu(lambda: damage["smi"])


def _printed(base: Path) -> st.SearchStrategy[Any]:
    line = st.sampled_from(
        ['["CPUExecutionProvider"]', "null", "{}", "[" * 3000, '{"torch": 1}', "NVIDIA Orin, 8.7, 540.4.0, 8192 MiB", "0, x, y",
         "cmake version 9999999999999999999999.1", "release 12.6, V12.6.85", "g++ (x) 12.2.0", "nan", "[N/A], [N/A]",
         "9" * 5000, "GPU 0: Orin (UUID: x)", "²"]
    ) | st.text(max_size=20)  # fmt: skip
    return st.fixed_dictionaries(
        {"answers": st.lists(st.none() | st.lists(line, max_size=3).map("\n".join), min_size=1, max_size=8)}
    )


def _read_printed(damage: Any, folder: Path) -> None:
    """Of every program that doctor asks, one answer after the other."""
    from edgeexport.backends.tensorrt_log import EngineLog
    from edgeexport.device.machine import Probe, examine_machine

    answers = itertools.cycle(damage["answers"])
    machine = examine_machine(
        Probe(
            which=lambda name: f"/usr/bin/{name}",
            run=lambda words, timeout_s: next(answers),
            version_of=lambda name: next(answers),
            root=folder / "orin",
        )
    )
    json.dumps(machine, default=vars)
    log = EngineLog()
    for answer in damage["answers"]:
        log.add("WARNING", answer or "")
        log.add("VERBOSE", f"[DlaLayer] {answer}")
    log.errors(), log.complaints(), log.layers_by_device(), log.text()


def _libraries(base: Path) -> st.SearchStrategy[Any]:
    content = (base / "lib.so").read_bytes()
    record = json.loads(content[content.index(b"{") : -1])
    return st.fixed_dictionaries(
        {
            "damage": document_edits(record) | st.fixed_dictionaries({"file": byte_edits}),
            "command": st.sampled_from(
                ["plugin list lib.so", "plugin list lib.so --json", "plugin test lib.so", "plugin test lib.so --json"]
            ),
        }
    )


def _read_library(damage: Any, folder: Path) -> None:
    file = folder / "lib.so"
    content = file.read_bytes()
    if "file" in damage["damage"]:
        content = apply_bytes(content, damage["damage"]["file"])
    else:
        begin = content.index(b"{")
        content = content[:begin] + apply_document(content[begin:-1], damage["damage"]) + b"\0"
    replaced(file, content)
    command(*damage["command"].split())


def _remote(base: Path) -> st.SearchStrategy[Any]:
    told = {name: json.loads((base / "b" / f"{name}.json").read_bytes()) for name in ("bench", "verify", "engine")}
    facts = {"edgeexport": "0.1.0", "bundle_schema": "x/1", "engine_schema": "y/1", "python": "3.10.2"}
    lines = st.sampled_from(
        ["file 1 " + "0" * 64, "file 0 x", "file 999 x", "file -1 x", "file ² x", "part 1 99999999999", "part 1 x", "ok 1",
         "ok 99", "moved", "short", "damaged", "Filesystem 1024-blocks Used Available Capacity\nx 1 1 1 1% /", "", "\xff"]
    ) | st.text(max_size=12)  # fmt: skip
    return st.sampled_from(["verify", "profile", "build"]).flatmap(
        lambda name: st.fixed_dictionaries(
            {
                "command": st.just(name),
                "version": st.none() | document_edits(facts),
                "out": st.none() | document_edits(told["verify" if name == "verify" else "bench"]),
                "code": st.sampled_from([0, 0, 0, 0, 0, 1, 2, 4, 6, 9, 137, 255, -9]),
                "err": st.sampled_from(
                    ["", "error: a | b | c", "error: ", "... x\n", "Traceback\nx", "\x1b[31m", "error: |||"]
                ),
                "listing": st.none() | st.lists(lines, max_size=4),
                "files": st.dictionaries(
                    st.sampled_from(["bench.json", "verify.json", "engine.json", "engine.profile.json", "power.csv"]),
                    st.sampled_from(["bench", "verify", "engine"]).flatmap(lambda of: document_edits(told[of])),
                    max_size=2,
                ),
            }
        )
    )


class _Connection:
    """A device that answers what the damage says, and otherwise as one does that has everything."""

    folder = "/cache"

    def __init__(self, damage: Any, bundle: Path) -> None:
        from edgeexport.remote.ssh import Host

        self.host, self._damage, self._bundle = Host("orin"), damage, bundle
        self._files = {path.name: path.read_bytes() for path in bundle.glob("*.*") if path.is_file()}
        for name, edits in damage["files"].items():
            self._files[name] = apply_document(self._files.get(name, b"{}"), edits)

    def script(self, what: str, text: str, *arguments: str, feed: Any = ()) -> bytes:
        import hashlib

        names = [argument for argument in arguments if argument.startswith("./")]
        if what.startswith("send "):
            return self._files.get(names[0][2:], b"")
        if self._damage["listing"] is not None:
            return "\n".join(self._damage["listing"]).encode("latin-1", errors="replace")
        list(feed)
        found = [(n, self._files.get(name[2:])) for n, name in enumerate(names, start=1)]
        if what.startswith("receive"):
            return b"ok\n" + b"".join(b"ok %d\n" % n for n, _ in found)
        return b"".join(
            b"file %d %s\n" % (n, hashlib.sha256(f).hexdigest().encode()) for n, f in found if f is not None
        )

    def command(self, words: list[str], on_line: Callable[[str], None]) -> Any:
        from edgeexport.remote.connection import Finished
        from edgeexport.remote.edgeexport import version_facts

        damage = self._damage
        if words[-2] == "version":
            told = json.dumps(version_facts()).encode()
            return Finished(0, told if damage["version"] is None else apply_document(told, damage["version"]), "")
        for line in damage["err"].splitlines():
            on_line(line)
        name = {"verify": "verify.json", "profile": "bench.json", "build": "engine.json"}[damage["command"]]
        told = (self._bundle / name).read_bytes()
        return Finished(
            damage["code"], told if damage["out"] is None else apply_document(told, damage["out"]), damage["err"]
        )


def _read_remote(damage: Any, folder: Path) -> None:
    from edgeexport.remote.commands import Device
    from edgeexport.remote.edgeexport import RemoteEdgeexport

    @contextlib.contextmanager
    def session(self: Device, on_stage: Any) -> Iterator[RemoteEdgeexport]:
        remote = RemoteEdgeexport(_Connection(damage, folder / "b"), ["edgeexport"])  # type: ignore[arg-type]
        remote.check()
        yield remote

    original = Device.session
    Device.session = session  # type: ignore[method-assign,assignment]
    try:
        command(damage["command"], "b", "--host", "ssh://orin")
    finally:
        Device.session = original  # type: ignore[method-assign]


DEVICE_KINDS = [
    Kind("device-files", _trees, _read_tree, 60, ("orin",)),
    Kind("printed", _printed, _read_printed, 30, ("orin",)),
    Kind("libraries", _libraries, _read_library, 30, ("lib.so",)),
    Kind("remote", _remote, _read_remote, 10, ("b",)),
]

"""Whatever lies in a file or is typed: it works, or the tool says in an error of its own what is wrong.

`make test` tries some hundred inputs, the same every time; `make fuzz` new ones for an hour, and what it finds is shrunk and
written to corpus/, whose inputs are tried by every run from then on.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import sys
import time
from pathlib import Path
from typing import Any

import harness
import pytest
from fuzzing import drawn, layer, shrunk
from harness import Finding, outcomes
from kind import Kind
from kinds import KINDS

CORPUS = Path(__file__).parent / "corpus"
SECONDS = float(os.environ.get("EDGEEXPORT_FUZZ_SECONDS", "0"))
BATCH = 100


def _told(damage: Any, found: Finding) -> str:
    return f"{found.signature}\n{json.dumps(damage)[:2000]}\n{found.detail}"


def _share_s() -> float:
    """Of the time asked for, what one kind gets; processes that run side by side have as much each."""
    return SECONDS * int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")) / (len(KINDS) + 1)


def _kept(kind: Kind, base: Path, damage: Any, found: Finding) -> str:
    """Shrinks a finding and puts it into the corpus."""
    damage = shrunk(kind, base, damage, found)
    name = f"{kind.name}-{hashlib.sha256(found.signature.encode()).hexdigest()[:8]}.json"
    (CORPUS / name).write_text(json.dumps({"kind": kind.name, "found": found.signature, "damage": damage}) + "\n")
    return f"{name}: {_told(damage, found)}"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_new_inputs(kind: Kind, base: Path) -> None:
    if not SECONDS and not kind.quick:
        pytest.skip("`make fuzz` tries it")
    seed, ends = (random.randrange(1 << 32), time.monotonic() + _share_s()) if SECONDS else (0, 0.0)
    count, found = 0, {}
    while not count or time.monotonic() < ends:
        damages = drawn(kind, base, BATCH if SECONDS else kind.quick, seed + count)
        for damage, finding in zip(damages, outcomes(kind.read, damages, layer(kind, base)), strict=True):
            count += 1
            if finding is not None:
                found.setdefault(finding.signature, (damage, finding))
    if SECONDS:
        print(f"{kind.name}: {count} inputs from seed {seed}, {len(found)} findings", file=sys.__stderr__)
    texts = [_kept(kind, base, *entry) if SECONDS else _told(*entry) for entry in found.values()]
    assert not texts, "\n\n".join(texts)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_earlier_findings(kind: Kind, base: Path) -> None:
    entries = [json.loads(path.read_text()) for path in sorted(CORPUS.glob("*.json"))]
    damages = [entry["damage"] for entry in entries if entry["kind"] == kind.name]
    found = zip(damages, outcomes(kind.read, damages, layer(kind, base)), strict=True)
    texts = [_told(damage, finding) for damage, finding in found if finding is not None]
    assert not texts, "\n\n".join(texts)


def _breaks(damage: str, folder: Path) -> None:
    """A reader with every fault that the harness looks for."""
    match damage:
        case "traceback":
            raise KeyError("name")
        case "outside":
            (folder.parent / "outside").write_text("x")
        case "through a link":
            (folder / "link").symlink_to(folder.parent / "linked")
            (folder / "link").write_text("x")
        case "code":
            (folder / "module.py").write_text("x = 1")
            exec(compile("x = 1", str(folder / "module.py"), "exec"))
        case "program":
            os.system("true")
        case "memory":
            bytearray(3 << 30)
        case "hang":
            time.sleep(5)
        case "crash":
            os.abort()
        case "code 1":
            sys.exit("text")


@pytest.mark.parametrize(
    ("damage", "signature"),
    [
        ("traceback", "KeyError at "),
        ("outside", "breach: "),
        ("through a link", "breach: "),
        ("code", "breach: /module.py is executed"),
        ("program", "breach: os.system"),
        ("memory", "MemoryError at "),
        ("hang", "hang at "),
        ("crash", "the process ended with status -6"),
        ("code 1", "SystemExit at "),
    ],
)
def test_the_harness_finds(damage: str, signature: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And goes on with the next input."""
    monkeypatch.setattr(harness, "SECONDS", 1)
    before, found, after = outcomes(_breaks, ["nothing", damage, "nothing"], lambda folder: None)
    assert found is not None and found.signature.startswith(signature)
    assert before is None and after is None

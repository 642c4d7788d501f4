"""What a device found, brought into the bundle here, without ssh: the shell lines run on this machine."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
from engine_cases import write_engine_bundle

from edgeexport.backends.contract import EngineOptions
from edgeexport.backends.engine import build_engine, engine_record
from edgeexport.bundle import Bundle
from edgeexport.errors import BuildError
from edgeexport.remote.results import fetch_engine, fetch_results


class HereConnection:
    """Stands in for `Connection`."""

    host = SimpleNamespace(place="me@orin")

    def script(self, what: str, text: str, *arguments: str) -> bytes:
        done = subprocess.run(["sh", "-c", text, "sh", *arguments], capture_output=True, check=True)
        return done.stdout


@pytest.fixture
def there(tmp_path: Path) -> Path:
    folder = tmp_path / "there"
    folder.mkdir()
    (folder / "bench.json").write_bytes(b"bench")
    (folder / "power.csv").write_bytes(b"power")
    return folder


@pytest.fixture
def here(tmp_path: Path) -> Bundle:
    return write_engine_bundle(tmp_path / "here")


NAMES = ["power.csv", "verify.json", "bench.json"]


def test_results_replace_links_and_go_where_there_are_none(there: Path, here: Bundle, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_bytes(b"mine")
    (here.path / "bench.json").symlink_to(precious)
    (here.path / ".bench.json.partial").symlink_to(precious)  # a name that a bundle may bring along
    (here.path / "verify.json").write_bytes(b"of an earlier engine")
    fetch_results(HereConnection(), str(there), here, NAMES)
    assert (here.path / "bench.json").read_bytes() == b"bench" and not (here.path / "bench.json").is_symlink()
    assert (here.path / "power.csv").read_bytes() == b"power"
    assert not (here.path / "verify.json").exists()
    assert precious.read_bytes() == b"mine"


def test_a_full_disk_here_leaves_the_earlier_file(there: Path, here: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    (here.path / "power.csv").write_bytes(b"earlier")
    synced = os.fsync

    def full(handle: int) -> None:
        if str(here.path) in str(Path(f"/proc/self/fd/{handle}").readlink()):
            raise OSError(errno.ENOSPC, "No space left on device")
        synced(handle)

    monkeypatch.setattr(os, "fsync", full)
    before = sorted(path.name for path in here.path.iterdir())
    with pytest.raises(BuildError) as caught:
        fetch_results(HereConnection(), str(there), here, NAMES)
    assert str(caught.value).startswith(
        f"{here.path / 'power.csv'} | cannot be written: No space left on device | free "
    )
    assert (here.path / "power.csv").read_bytes() == b"earlier"
    assert sorted(path.name for path in here.path.iterdir()) == before


def test_an_engine_of_elsewhere_takes_the_place_of_the_one_here(here: Bundle, tmp_path: Path) -> None:
    build_engine(here.path)
    device = write_engine_bundle(tmp_path / "device")
    built = build_engine(device.path, options=EngineOptions(threads=2)).record
    fetched = fetch_engine(HereConnection(), str(device.path), here)
    assert fetched == engine_record(here) and fetched is not None
    assert (fetched.options["threads"], fetched.provenance) == (2, "built on ssh://me@orin")
    assert fetched.files == built.files
    assert not (here.path / "engine.onnx").exists()  # the one that was built here; the device's stays there
    assert fetch_engine(HereConnection(), str(tmp_path), here) is None  # none there
    assert engine_record(here) == fetched

"""Bundles sent to a real sshd and back: what differs, from where it was cut off, with hashes checked there."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from engine_cases import write_engine_bundle
from ssh_device import SshDevice, small_disk, ssh_device

from edgeexport.bundle import Bundle, hashes_of, json_bytes, open_bundle
from edgeexport.errors import BuildError, BundleError, DeviceError
from edgeexport.remote.connection import Connection
from edgeexport.remote.files import Sent, fetch_files, files_of_bundle, folder_of_bundle, send_files

MEGABYTE = 1_000_000
HOSTILE = [
    "plugins/a b.cu",
    'plugins/it\'s "quoted" `id` $HOME $(id).cu',
    "plugins/*?[a-z].cu",
    "plugins/-rf",
    "-n",
    "--help",
    "ünïcode/größe 模型.txt",
    "~root",
    "#x;y&z|<>!",
    "empty",
]


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SshDevice]:
    with ssh_device(tmp_path / "device", monkeypatch) as started:
        yield started


@pytest.fixture
def link(device: SshDevice) -> Iterator[Connection]:
    """One connection for a test that cuts none."""
    with Connection(device.host) as connection:
        yield connection


def bundle_with(folder: Path, files: dict[str, bytes], **changes: Any) -> Bundle:
    """A bundle with these files beside model.onnx."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    bundle = write_engine_bundle(folder, **changes)
    manifest = {**bundle.manifest, "files": hashes_of(folder, ["model.onnx", *files])}
    (folder / "manifest.json").write_bytes(json_bytes(manifest))
    return open_bundle(folder)


def send(link: Connection, bundle: Bundle, stages: list[str] | None = None) -> tuple[Sent, Path]:
    """Sends a bundle; returns what that took, and where it went."""
    folder = folder_of_bundle(link, bundle)
    on_stage = (lambda name: None) if stages is None else stages.append
    return send_files(link, folder, files_of_bundle(bundle), on_stage), Path(folder)


def assert_arrived(bundle: Bundle, folder: Path) -> None:
    assert dict(open_bundle(folder).manifest) == dict(bundle.manifest)
    left = [path for path in folder.rglob("*") if path.is_file()]
    assert len(left) == len(bundle.manifest["files"]) + 1


def test_bundle_is_sent_once(device: SshDevice, link: Connection, tmp_path: Path) -> None:
    bundle = bundle_with(tmp_path / "a b", {"golden.npz": os.urandom(2 * MEGABYTE)})
    stages: list[str] = []
    sent, folder = send(link, bundle, stages)
    assert (sent.present, sent.files) == (0, 3) and sent.size > 2 * MEGABYTE
    assert folder.parent.parent == device.cache and folder.name == "a_b"
    assert_arrived(bundle, folder)
    assert any(stage.endswith("send golden.npz, 2.0 MB") for stage in stages)
    assert folder.stat().st_mode & 0o077 == 0
    before = device.wire.sent
    assert send(link, bundle)[0] == Sent(3, 0, 0)
    assert device.wire.sent - before < 20_000


def test_only_what_changed_is_sent(link: Connection, tmp_path: Path) -> None:
    files = {"golden.npz": os.urandom(MEGABYTE), "tokens.json": b"{}"}
    _, first = send(link, bundle_with(tmp_path / "b", files))
    changed = bundle_with(tmp_path / "b", {**files, "tokens.json": b"{ }"})
    sent, second = send(link, changed)
    assert (sent.present, sent.files) == (2, 2) and sent.size < 2000  # tokens.json and the manifest
    assert first != second and first.name == second.name
    assert_arrived(changed, second)
    assert (first / "tokens.json").read_text() == "{}"


def test_damaged_files_there_are_sent_again(link: Connection, tmp_path: Path) -> None:
    bundle = bundle_with(tmp_path / "b", {"golden.npz": os.urandom(1000), "tokens.json": b"{}"})
    _, folder = send(link, bundle)
    (folder / "golden.npz").write_bytes(os.urandom(1000))
    (folder / "tokens.json").unlink()
    assert send(link, bundle)[0] == Sent(2, 2, 1002)
    assert_arrived(bundle, folder)


def test_hostile_file_names(link: Connection, tmp_path: Path) -> None:
    bundle = bundle_with(tmp_path / "b", {each: each.encode() * (each != "empty") for each in HOSTILE})
    _, folder = send(link, bundle)
    assert_arrived(bundle, folder)
    assert send(link, bundle)[0] == Sent(len(HOSTILE) + 2, 0, 0)


@pytest.mark.parametrize("name", ['it\'s a "b" $(id)', "-rf", "模型", "*", ".hidden", "a\nb"])
def test_hostile_folder_names(device: SshDevice, link: Connection, tmp_path: Path, name: str) -> None:
    bundle = bundle_with(tmp_path / name, {})
    _, folder = send(link, bundle)
    assert folder.parent.parent == device.cache and re.fullmatch("[a-z_][a-z_.-]*", folder.name)
    assert_arrived(bundle, folder)


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", "", "a\nb", ".parts/x"])
def test_names_that_lead_elsewhere(tmp_path: Path, name: str) -> None:
    bundle = write_engine_bundle(tmp_path / "b")
    crooked = Bundle(bundle.path, {**bundle.manifest, "files": {name: "0" * 64}})
    with pytest.raises(BundleError, match="no plain name"):
        files_of_bundle(crooked)


def test_a_backslash_is_in_no_name(tmp_path: Path) -> None:
    """A folder's name ends there on Windows."""
    with pytest.raises(BundleError, match=r"manifest\.json: files.* \| has characters or a length"):
        bundle_with(tmp_path / "b", {"plugins/a\\n.cu": b""})


def settled_size(path: Path) -> int:
    """Bytes of a file once the device has written what was under way when the connection broke."""
    while True:
        size = path.stat().st_size
        time.sleep(0.5)
        if path.stat().st_size == size:
            return size


def test_cut_off_transfer_resumes(device: SshDevice, tmp_path: Path) -> None:
    size = 12 * MEGABYTE
    bundle = bundle_with(tmp_path / "b", {"golden.npz": os.urandom(size)})
    device.wire.cut_after = 6 * MEGABYTE
    with pytest.raises(DeviceError, match="the connection was dropped") as caught, Connection(device.host) as link:
        send(link, bundle)
    assert "it resumes" in caught.value.remedy
    device.wire.cut_after, first = None, device.wire.sent
    [part] = (path for path in device.cache.rglob("*") if path.is_file() and path.parent.name == ".parts")
    arrived = settled_size(part)
    assert 0 < arrived < first
    stages: list[str] = []
    with Connection(device.host) as link:
        sent, folder = send(link, bundle, stages)
    again = device.wire.sent - first
    assert sent.size < size - arrived + 10_000
    assert again < size - arrived + 300_000 < size - 2 * MEGABYTE  # on the wire, with all that ssh adds
    assert any(f"send golden.npz, 12.0 MB, from {arrived / 1e6:.1f} MB on" in stage for stage in stages)
    assert_arrived(bundle, folder)


@pytest.mark.parametrize("extra", [-1000, 0, 1000])
def test_damaged_part_is_sent_anew(link: Connection, tmp_path: Path, extra: int) -> None:
    size = 100_000
    bundle = bundle_with(tmp_path / "b", {"golden.npz": os.urandom(size)})
    _, folder = send(link, bundle)
    (folder / "golden.npz").unlink()
    part = folder / ".parts" / bundle.manifest["files"]["golden.npz"]
    part.write_bytes(b"\0" * (size + extra))
    sent, _ = send(link, bundle)
    assert sent == Sent(2, 1, size + max(0, -extra))
    assert_arrived(bundle, folder)


def test_file_that_arrives_damaged_twice(link: Connection, tmp_path: Path) -> None:
    bundle = bundle_with(tmp_path / "b", {"golden.npz": b"golden"})
    files = files_of_bundle(bundle)
    (bundle.path / "golden.npz").write_bytes(b"silver")  # while it is sent
    with pytest.raises(DeviceError, match="arrived damaged twice"):
        send_files(link, folder_of_bundle(link, bundle), files, lambda name: None)


def test_full_disk_is_told_before_anything_is_sent(device: SshDevice, link: Connection, tmp_path: Path) -> None:
    bundle = bundle_with(tmp_path / "b", {"golden.npz": os.urandom(3 * MEGABYTE)})
    with small_disk(device.home, MEGABYTE):
        with pytest.raises(DeviceError, match=r"1\.0 MB free, 3\.0 MB needed") as caught:
            send(link, bundle)
        assert str(device.cache) in caught.value.where and "free some space" in caught.value.remedy
        assert device.wire.sent < MEGABYTE


def test_disk_that_fills_up_on_the_way(device: SshDevice, link: Connection, tmp_path: Path) -> None:
    """As a quota does, of which `df` knows nothing. With space again, it goes on where it stopped."""
    size = 3 * MEGABYTE
    bundle = bundle_with(tmp_path / "b", {"golden.npz": os.urandom(size)})
    device.program("echo Filesystem 1024-blocks; echo disk 9 9 99999999 1% /", "df")
    with small_disk(device.home, 4 * MEGABYTE):
        ballast = device.home / "ballast"
        ballast.write_bytes(bytes(2 * MEGABYTE))
        with pytest.raises(DeviceError, match="the disk is full: could not receive") as caught:
            send(link, bundle)
        assert "No space left on device" in caught.value.problem and f"{size} bytes" in caught.value.problem
        ballast.unlink()
        sent, folder = send(link, bundle)
        assert sent.size < 2 * MEGABYTE
        assert_arrived(bundle, folder)


def test_full_disk_where_none_can_be_mounted(device: SshDevice, link: Connection, tmp_path: Path) -> None:
    """The same two with a `df` that tells of a megabyte, and the device file that is always full."""
    bundle = bundle_with(tmp_path / "b", {"golden.npz": os.urandom(3 * MEGABYTE)})
    df = device.program(
        "echo Filesystem 1024-blocks Used Available; echo /dev/my disk 9000 8000 1000 89% /a 1 2%", "df"
    )
    with pytest.raises(DeviceError, match=r"1\.0 MB free, 3\.0 MB needed"):
        send(link, bundle)
    df.unlink()
    parts = Path(folder_of_bundle(link, bundle)) / ".parts"
    parts.mkdir(parents=True)
    part = parts / bundle.manifest["files"]["golden.npz"]
    part.symlink_to("/dev/full")
    with pytest.raises(DeviceError, match="the disk is full: could not receive") as caught:
        send(link, bundle)
    assert "No space left on device" in caught.value.problem
    part.unlink()
    assert_arrived(bundle, send(link, bundle)[1])


def test_folder_in_the_place_of_a_file(link: Connection, tmp_path: Path) -> None:
    bundle = bundle_with(tmp_path / "b", {"golden.npz": b"x"})
    _, folder = send(link, bundle)
    (folder / "golden.npz").unlink()
    (folder / "golden.npz").mkdir()
    with pytest.raises(DeviceError, match=r"golden\.npz is a folder"):
        send(link, bundle)


def test_device_without_coreutils(device: SshDevice, link: Connection, tmp_path: Path) -> None:
    bundle = bundle_with(tmp_path / "b", {})
    device.program("echo sh: sha256sum: not found >&2; exit 127", "sha256sum")
    with pytest.raises(DeviceError, match="could not receive") as caught:
        send(link, bundle)
    assert "coreutils" in caught.value.remedy


def test_files_brought_back(device: SshDevice, link: Connection, tmp_path: Path) -> None:
    there, here = device.home / "it's there", tmp_path / "here"
    there.mkdir()
    here.mkdir()
    (there / "bench.json").write_bytes(os.urandom(MEGABYTE))
    (there / "verify.json").write_bytes(b"")
    (here / "verify.json").write_bytes(b"old")
    names = ["power.csv", "verify.json", "bench.json"]
    assert fetch_files(link, str(there), names, here) == ["verify.json", "bench.json"]
    for name in ("verify.json", "bench.json"):
        assert (here / name).read_bytes() == (there / name).read_bytes()
    assert len(list(here.iterdir())) == 2
    shutil.rmtree(here)
    with pytest.raises(BuildError, match="cannot be written"):
        fetch_files(link, str(there), names, here)

"""Files to a device and back over ssh: sent where they differ, resumed where they were cut off, hashes checked there.

Bytes go through a session's standard input to ``cat`` and not through sftp: so every byte is counted on its way, names are
quoted in one language, and the device tells why it could not write.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from edgeexport.bundle import Bundle, sha256_of
from edgeexport.bundle.files import disk_errors, write_file
from edgeexport.errors import BundleError, DeviceError
from edgeexport.remote.connection import Connection
from edgeexport.remote.failures import RESUME, disk_full

__all__ = ["FileToSend", "Sent", "fetch_files", "files_of_bundle", "folder_of_bundle", "send_files"]

MANIFEST = "manifest.json"

_PARTS = ".parts"
_BLOCK = 1 << 18
_SECONDS_BETWEEN_STAGES = 2.0
_SMALL_BYTES = 1 << 17
_NAMES_AT_ONCE = 100  # a login shell's command line ends at 128 KiB
_DF_FREE = re.compile(rb"(\d+)\s+\d+%\s")

# Everything that is there: 'file NUMBER SIZE SHA256', 'part NUMBER SIZE'. A file of the same name and hash in another
# version of the bundle (a folder beside) is linked or copied instead of sent. Arguments: folder, parts folder, then
# name, sha256 and size of each file.
_LIST = (
    'umask 077; mkdir -p "$1" && cd "$1" || exit 1; own=$(pwd -P); name=${own##*/}; parts=$2; shift 2; n=0; '
    'hash() { h=$(sha256sum <"$1") || exit 1; h=${h%% *}; }; '
    'while [ $# -ge 3 ]; do n=$((n+1)); h=; if [ -f "$1" ]; then hash "$1"; fi; '
    'if [ "$h" != "$2" ]; then for c in ../../*/"$name"/"$1"; do '
    'if [ -f "$c" ] && [ "$(wc -c <"$c")" -eq "$3" ]; then hash "$c"; if [ "$h" = "$2" ]; then rm -f "$1"; '
    'mkdir -p "$(dirname "$1")" && { ln "$c" "$1" 2>/dev/null || cp "$c" "$1"; } || exit 1; break; fi; fi; done; fi; '
    'if [ -f "$1" ]; then printf "file %s %s\\n" $n "$h"; fi; '
    'if [ -f "$parts/$2" ]; then printf "part %s %s\\n" $n "$(wc -c <"$parts/$2")"; fi; shift 3; done; df -Pk .'
)
# Appends its input to the part, and puts it in its place when it is whole. Answers: 'ok', 'short', 'moved' (the part is
# not as long as it was told), 'damaged' (and the part is gone). Arguments: folder, part, file, offset, size, sha256.
_RECEIVE = (
    'umask 077; cd "$1" && mkdir -p "$(dirname "$2")" "$(dirname "$3")" || exit 1; have=0; '
    'if [ -f "$2" ]; then have=$(wc -c <"$2"); fi; if [ "$have" -ne "$4" ]; then echo moved; exit; fi; '
    'cat >>"$2" || exit 1; have=$(wc -c <"$2"); if [ "$have" -lt "$5" ]; then echo short; exit; fi; '
    'h=$(sha256sum <"$2") || exit 1; if [ "${h%% *}" != "$6" ]; then rm -f "$2"; echo damaged; exit; fi; '
    'if [ -d "$3" ]; then echo "$3 is a folder" >&2; exit 1; fi; mv -f "$2" "$3" && echo ok'
)
# The same for many small files, one behind the other in its input, of which nothing is kept if it is cut off: a session
# for each of a bundle's seventy would take longer than their bytes. Answers 'ok NUMBER'. Arguments: as of _LIST.
_RECEIVE_MANY = (
    'umask 077; cd "$1" && mkdir -p "$2" || exit 1; parts=$2; shift 2; n=0; while [ $# -ge 3 ]; do n=$((n+1)); '
    'p=$parts/$2; head -c "$3" >"$p" && h=$(sha256sum <"$p") || exit 1; '
    'if [ "${h%% *}" = "$2" ] && [ ! -d "$1" ]; then mkdir -p "$(dirname "$1")" && mv -f "$p" "$1" || exit 1; '
    'printf "ok %s\\n" $n; else rm -f "$p"; fi; shift 3; done'
)
_FETCHABLE = (
    'cd "$1" || exit 1; shift; n=0; for f do n=$((n+1)); if [ -f "$f" ]; then h=$(sha256sum <"$f") || exit 1; '
    'printf "file %s %s\\n" $n "${h%% *}"; fi; done'
)
_FETCH = 'cd "$1" && cat <"$2"'


@dataclass(frozen=True)
class FileToSend:
    """A file of a bundle: its name in the bundle, where it is, its size in bytes, and its sha256."""

    name: str
    path: Path
    size: int
    sha256: str


@dataclass(frozen=True)
class Sent:
    """What a transfer did: files there already, files sent, and bytes sent (less than their sizes where it resumed)."""

    present: int
    files: int
    size: int


def folder_of_bundle(connection: Connection, bundle: Bundle) -> str:
    """Where a bundle goes on the device: ``<cache>/<start of the manifest's sha256>/<name of the folder here>``.

    The last part is the name that measurements give the bundle, so it is the local one, in plain letters.
    """
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", bundle.path.resolve().name)
    name = re.sub(r"^[.-]", "_", plain) or "bundle"
    return f"{connection.folder}/{sha256_of(bundle.path / MANIFEST)[:12]}/{name}"


def files_of_bundle(bundle: Bundle) -> list[FileToSend]:
    """What a device needs of a bundle that was opened with its hashes checked: the manifest's files, then the manifest.

    Raises:
        BundleError: A file's name leads out of the bundle, or holds a control character.
    """
    files = []
    for name, sha256 in bundle.manifest["files"].items():
        parts = PurePosixPath(name).parts
        if not parts or name.startswith("/") or ".." in parts or not name.isprintable() or parts[0] == _PARTS:
            raise BundleError(
                str(bundle.path / MANIFEST),
                f"lists the file {name!r}, which is no plain name",
                "build the bundle again",
            )
        files.append(FileToSend(name, bundle.path / name, (bundle.path / name).stat().st_size, str(sha256)))
    manifest = bundle.path / MANIFEST
    return [*files, FileToSend(MANIFEST, manifest, manifest.stat().st_size, sha256_of(manifest))]


def send_files(
    connection: Connection, folder: str, files: Sequence[FileToSend], on_stage: Callable[[str], None]
) -> Sent:
    """Makes a folder of the device hold the files: hashes those that are there, and sends what is missing or differs.

    Args:
        folder: Absolute, on the device; made if need be. Other files in it stay.
        files: In the order in which they are sent.
        on_stage: Hears of each file, and now and then of the bytes sent.

    Raises:
        DeviceError: The disk there is full, the connection was dropped (what has arrived is kept, and not sent again the
            next time), or a file arrived damaged twice.
    """
    on_stage(f"{connection.host.place}: compare {len(files)} files")
    present, begun, free = _state(connection, folder, files)
    missing = [file for file in files if file.name not in present]
    needed = sum(file.size - begun.get(file.name, 0) for file in missing)
    if free is not None and needed > free:
        raise disk_full(connection.host, folder, needed, free)
    small = [file for file in missing if file.size <= _SMALL_BYTES and file.name not in begun and file.name != MANIFEST]
    placed = _send_small(connection, folder, small, on_stage)
    sent = sum(file.size for file in small)
    for file in missing:
        if file.name in placed:
            continue
        sent += _send(connection, folder, file, begun.get(file.name, 0), on_stage)
    return Sent(len(present), len(missing), sent)


def fetch_files(connection: Connection, folder: str, names: Sequence[str], into: Path) -> list[str]:
    """Brings files back from a folder of the device; each is replaced as a whole, in the order given.

    Args:
        names: Plain names; those that are not there are left out.
        into: Folder here.

    Returns:
        The names that are there, and so are here now.

    Raises:
        DeviceError: The connection was dropped, or a file arrived damaged.
        BuildError: The folder here cannot be written to.
    """
    digests: dict[str, str] = {}
    out = connection.script("list what is there", _FETCHABLE, folder, *(f"./{name}" for name in names))
    for word, number, sha256 in _answers(out, 3, len(names)):
        if word == "file":
            digests[names[int(number) - 1]] = sha256
    for name, sha256 in digests.items():
        path = into / name
        content = connection.script(f"send {name} back", _FETCH, folder, f"./{name}")
        if hashlib.sha256(content).hexdigest() != sha256:
            raise DeviceError(f"{connection.host}: {folder}/{name}", "changed on its way here", "run the command again")
        with disk_errors(path, "free some space, make the bundle writable"):
            write_file(path, content)
    return list(digests)


def _state(
    connection: Connection, folder: str, files: Sequence[FileToSend]
) -> tuple[set[str], dict[str, int], int | None]:
    """Names of the files that are there and right; name -> bytes of those begun; free bytes (None if unknown)."""
    present: set[str] = set()
    begun: dict[str, int] = {}
    out = b""
    for start in range(0, len(files), _NAMES_AT_ONCE):
        some = files[start : start + _NAMES_AT_ONCE]
        out = connection.script("compare files", _LIST, folder, _PARTS, *_triples(some))
        for word, number, value in _answers(out, 3, len(some)):
            file = some[int(number) - 1]
            if word == "part" and value.isdecimal():
                begun[file.name] = int(value)
            elif word == "file" and value == file.sha256:
                present.add(file.name)
    space = _DF_FREE.search(out[out.rfind(b"Filesystem") :])
    return present, begun, None if space is None else int(space[1]) * 1024


def _answers(out: bytes, words: int, files: int) -> Iterator[list[str]]:
    """The lines of so many words whose second is the number of one of the files; a device may print others besides."""
    for answer in (line.split() for line in out.decode("ascii", errors="replace").splitlines()):
        if len(answer) == words and re.fullmatch("[0-9]{1,4}", answer[1]) and 1 <= int(answer[1]) <= files:
            yield answer


def _triples(files: Sequence[FileToSend]) -> list[str]:
    return [word for file in files for word in (f"./{file.name}", file.sha256, str(file.size))]


def _send_small(
    connection: Connection, folder: str, files: Sequence[FileToSend], on_stage: Callable[[str], None]
) -> set[str]:
    """Sends small files together; returns the names of those that arrived whole."""
    placed: set[str] = set()
    for start in range(0, len(files), _NAMES_AT_ONCE):
        some = files[start : start + _NAMES_AT_ONCE]
        megabytes = sum(file.size for file in some) / 1e6
        on_stage(f"{connection.host.place}: send {_count(len(some), 'small file')}, {megabytes:.1f} MB")
        what = f"receive {_count(len(some), 'small file')}"
        content = (file.path.read_bytes() for file in some)
        out = connection.script(what, _RECEIVE_MANY, folder, _PARTS, *_triples(some), feed=filter(None, content))
        placed |= {some[int(number) - 1].name for word, number in _answers(out, 2, len(some)) if word == "ok"}
    return placed


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _send(connection: Connection, folder: str, file: FileToSend, begun: int, on_stage: Callable[[str], None]) -> int:
    """Sends a file from the byte that is missing; returns how many bytes that took."""
    sent = 0
    offset = begun if begun <= file.size else 0
    for attempt in ("first", "again"):
        answer = ""
        if begun <= file.size:
            answer = _attempt(connection, folder, file, offset, on_stage)
            sent += file.size - offset
        if answer == "ok":
            return sent
        if attempt == "first":  # a part that is no start of this file, or was written by two at once
            connection.script(f"start {file.name} anew", 'cd "$1" && rm -f "$2"', folder, _part(file))
            begun = offset = 0
    raise DeviceError(
        f"{connection.host}: {folder}/{file.name}",
        "arrived damaged twice (its sha256 there is not that of the bundle's manifest)",
        f"see that nobody else sends this bundle, and {RESUME}",
    )


def _attempt(
    connection: Connection, folder: str, file: FileToSend, offset: int, on_stage: Callable[[str], None]
) -> str:
    arguments = (folder, _part(file), f"./{file.name}", str(offset), str(file.size), file.sha256)
    feed = _blocks(file, offset, lambda text: on_stage(f"{connection.host.place}: {text}"))
    return (
        connection.script(f"receive {file.name} ({file.size} bytes)", _RECEIVE, *arguments, feed=feed)
        .decode(errors="replace")
        .strip()
    )


def _part(file: FileToSend) -> str:
    """Named by content: what was begun of another version of the file is never taken up."""
    return f"{_PARTS}/{file.sha256}"


def _blocks(file: FileToSend, offset: int, on_progress: Callable[[str], None]) -> Iterator[bytes]:
    """The file from a byte on; tells at the start, and now and then, how far it is."""
    total = file.size / 1e6
    on_progress(f"send {file.name}, {total:.1f} MB" + (f", from {offset / 1e6:.1f} MB on" if offset else ""))
    last, done = time.monotonic(), offset
    with file.path.open("rb") as stream:
        stream.seek(offset)
        while block := stream.read(_BLOCK):
            yield block
            done += len(block)
            if time.monotonic() - last >= _SECONDS_BETWEEN_STAGES:
                last = time.monotonic()
                on_progress(f"send {file.name}, {done / 1e6:.1f} of {total:.1f} MB")

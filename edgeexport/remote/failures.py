"""What went wrong on the way to a device: OpenSSH's and coreutils' words turned into our errors, each with its remedy."""

from __future__ import annotations

import re

from edgeexport.errors import DeviceError
from edgeexport.remote.ssh import Host

__all__ = ["RESUME", "connection_failure", "disk_full", "dropped", "script_failure"]

RESUME = "run the same command again: it resumes"

_CHANGED = "REMOTE HOST IDENTIFICATION HAS CHANGED"
_CHANGED_FOR = re.compile(r"host key for (\S+) has changed", re.I)
_OFFENDING = re.compile(r"Offending .*key in (.+?)\s*$", re.M)
_UNREACHABLE = (
    ("could not resolve hostname", "its name is not known here", "check the name, or give the device's IP address"),
    ("connection refused", "nothing listens on that port", "check the port, and that the device runs an ssh server"),
    ("timed out", "does not answer", "check that the device is switched on and in the same network"),
    ("no route to host", "cannot be reached", "check that the device is switched on and in the same network"),
    ("network is unreachable", "cannot be reached", "check this machine's network"),
)
_FULL = ("no space left on device", "disk quota exceeded")
_NOISE = re.compile(r"^(\s*@|Warning: Permanently added|\*\*|debug\d)")


def connection_failure(host: Host, stderr: str) -> DeviceError:
    """Why no connection came about, from what ssh printed."""
    text = stderr.lower()
    said = _last_words(stderr)
    if _CHANGED.lower() in text:
        return _changed_key(host, stderr)
    if "host key is known for" in text or "host key verification failed" in text:
        return DeviceError(
            str(host),
            "its host key is not known here, so it could be any machine",
            f"connect once by hand and compare the key's fingerprint: {host.ssh_by_hand}",
        )
    if "permission denied" in text or "too many authentication failures" in text:
        return DeviceError(
            str(host),
            f"refuses the login ({said}); edgeexport logs in with keys only",
            f"install your key there (ssh-copy-id) or load it (ssh-add), until this asks nothing: {host.ssh_by_hand}",
        )
    for words, problem, remedy in _UNREACHABLE:
        if words in text:
            return DeviceError(str(host), f"{problem} ({said})", remedy)
    return DeviceError(
        str(host), f"no connection ({said or 'ssh says nothing'})", f"find out more with: {host.ssh_by_hand} -v"
    )


def dropped(host: Host, stderr: str = "") -> DeviceError:
    """A connection that was there is gone."""
    said = _last_words(stderr)
    return DeviceError(str(host), f"the connection was dropped{f' ({said})' if said else ''}", RESUME)


def disk_full(host: Host, folder: str, needed_bytes: int, free_bytes: int | None) -> DeviceError:
    """The device's disk does not hold what is to be sent.

    Args:
        free_bytes: As ``df`` tells; None where the disk turned out full although it told more.
    """
    space = "the disk is full" if free_bytes is None else f"{_megabytes(free_bytes)} free"
    return DeviceError(
        f"{host}: {folder}",
        f"{space}, {_megabytes(needed_bytes)} needed",
        "free some space there; the folder is a cache, old bundles in it may be deleted",
    )


def script_failure(host: Host, what: str, code: int, stderr: str) -> DeviceError:
    """A script of ours failed on the device.

    Args:
        what: What it was to do, to stand behind 'could not': 'receive model.onnx'.
    """
    text = stderr.lower()
    said = _last_words(stderr) or f"exit code {code}"
    if any(words in text for words in _FULL):
        return DeviceError(
            str(host), f"the disk is full: could not {what} ({said})", f"free some space there and {RESUME}"
        )
    if "not found" in text:
        return DeviceError(str(host), f"could not {what} ({said})", "the device needs sh and coreutils, a Linux")
    return DeviceError(str(host), f"could not {what} ({said})", "make the folder writable for that user")


def _changed_key(host: Host, stderr: str) -> DeviceError:
    named = _CHANGED_FOR.search(stderr)
    file = _OFFENDING.search(stderr)
    key = named[1] if named else host.place
    return DeviceError(
        str(host),
        f"its host key is not the one that is known for {key}{f' ({file[1]})' if file else ''}: another machine answers, "
        "or the device was installed anew",
        f"only if it was installed anew: ssh-keygen -R '{key}', then connect once by hand: {host.ssh_by_hand}",
    )


def _last_words(stderr: str) -> str:
    lines = [line.strip() for line in stderr.splitlines() if line.strip() and not _NOISE.match(line)]
    return " ".join(lines[-1].split()) if lines else ""


def _megabytes(count: int) -> str:
    return f"{count} bytes" if count < 100_000 else f"{count / 1e6:.1f} MB"

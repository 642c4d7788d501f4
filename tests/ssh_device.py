"""A device to log in to: a real sshd on loopback with a home of its own, and a wire to it that counts bytes and can be cut."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgeexport.remote.ssh import Host

REPOSITORY = Path(__file__).resolve().parents[1]
# Where torch and what goes with it is installed, a device is played by hiding it.
_DEVICE_MAIN = """
import sys
HIDDEN = ("torch", "torchvision", "timm", "mmengine", "mmseg", "mmcv", "onnx", "onnxscript", "onnx_ir", "safetensors")
class Hider:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in HIDDEN:
            raise ModuleNotFoundError(f"No module named {name!r} (hidden)", name=name)
sys.meta_path.insert(0, Hider())
from edgeexport.cli import main
main()
"""


def required(reason: str) -> None:
    """Skips a test that this machine cannot run; where everything is required (.ci/run), fails it."""
    if os.environ.get("EDGEEXPORT_REQUIRE_ALL") == "1":
        pytest.fail(f"EDGEEXPORT_REQUIRE_ALL=1, and {reason}")
    pytest.skip(reason)


class Wire:
    """Carries connections to a port of loopback; counts the bytes that go there; can be cut."""

    def __init__(self, to_port: int) -> None:
        self.to_port = to_port
        self.sent = 0
        self.cut_after: int | None = None
        self.stalled = False
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Ends every connection now, both ways, without a goodbye."""
        for end in self._open:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits in it
        self._listener.close()
        self.cut()
        for end in self._open:
            end.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                here, _ = self._listener.accept()
                there = socket.create_connection(("127.0.0.1", self.to_port))
                self._open += [here, there]
                threading.Thread(target=self._carry, args=(here, there, True), daemon=True).start()
                threading.Thread(target=self._carry, args=(there, here, False), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket, up: bool) -> None:
        with contextlib.suppress(OSError):
            while block := source.recv(1 << 14):
                if self.stalled:  # as when a cable is pulled: nobody hears of it
                    continue
                target.sendall(block)
                if up:
                    self.sent += len(block)
                    if self.cut_after is not None and self.sent >= self.cut_after:
                        self.cut()
                        return
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


class SshDevice:
    """An sshd of the current user; ``home`` and the PATH of its sessions are its own, and so is the client's configuration.

    ``monkeypatch`` puts an ``ssh`` in front of the PATH here that reads that configuration instead of the user's.
    """

    def __init__(self, folder: Path, sshd: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.home = folder / "home of o'brien"  # whatever is done there has to quote
        self.bin = folder / "bin"
        self.cache = self.home / ".cache" / "edgeexport" / "remote"
        for made in (self.home, self.bin, folder / "client"):
            made.mkdir(parents=True)
        self.port = _free_port()
        for name in ("host_key", "other_host_key", "user_key", "other_user_key"):
            key = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
            subprocess.run(key, check=True, stdin=subprocess.DEVNULL)
        shutil.copy(folder / "user_key.pub", folder / "authorized_keys")
        (folder / "sshd_config").write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {folder}/host_key\nPidFile none\n"
            "KexAlgorithms curve25519-sha256\nUsePAM no\n"
            f"AuthorizedKeysFile {folder}/authorized_keys\nStrictModes no\nPasswordAuthentication no\n"
            f'KbdInteractiveAuthentication no\nSetEnv "HOME={self.home}" "PATH={self.bin}:/usr/bin:/bin"\n'
        )
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(parents=True, exist_ok=True)
        self.log = (folder / "sshd.log").open("wb")
        self.process = subprocess.Popen(
            [sshd, "-D", "-e", "-f", str(folder / "sshd_config")],
            stdin=subprocess.DEVNULL,
            stderr=self.log,
            start_new_session=True,
            preexec_fn=_heed_signals,
        )
        self.wire = Wire(self.port)
        self.host = Host("127.0.0.1", getpass.getuser(), self.wire.port)
        self.url = str(self.host)
        self.trust("host_key")
        self.configure()
        client = folder / "client" / "ssh"
        client.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {folder}/client/config "$@"\n')
        client.chmod(0o755)
        monkeypatch.setenv("PATH", f"{client.parent}:{os.environ['PATH']}")
        for name in ("SSH_AUTH_SOCK", "SSH_ASKPASS"):
            monkeypatch.delenv(name, raising=False)
        wait_for(self._answers, "sshd answers")

    def _answers(self) -> bool:
        assert self.process.poll() is None, (self.folder / "sshd.log").read_text()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as end:
            return end.recv(4) == b"SSH-"
        return False

    def trust(self, key: str | None) -> None:
        """Writes the client's known_hosts: the key of that name, or none."""
        text = "" if key is None else f"[127.0.0.1]:{self.wire.port} {(self.folder / f'{key}.pub').read_text()}"
        (self.folder / "client" / "known_hosts").write_text(text)

    def configure(self, more: str = "", key: str = "user_key") -> None:
        """Writes the client's configuration; ``more`` comes first, so it wins."""
        (self.folder / "client" / "config").write_text(
            f"{more}\nIdentityFile {self.folder}/{key}\nIdentitiesOnly yes\n"
            f"UserKnownHostsFile {self.folder}/client/known_hosts\nGlobalKnownHostsFile /dev/null\n"
        )

    def install(self, name: str = "edgeexport", *, asks_itself: bool = False) -> Path:
        """Puts this edgeexport on the device, without torch. Unless it ``asks_itself``, `version` is told by a shell,
        which takes a second less."""
        main = self.folder / "device_main.py"
        main.write_text(_DEVICE_MAIN)
        words = shlex.join([sys.executable, str(main)])
        start = f'export PYTHONPATH={shlex.quote(str(REPOSITORY))} OMP_NUM_THREADS=1\nexec {words} "$@"'
        return self.program(start, name) if asks_itself else self.pretend(start, name)

    def program(self, script: str, name: str = "edgeexport") -> Path:
        """Puts a shell script on the device."""
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path

    def pretend(self, then: str, name: str = "edgeexport", **facts: str) -> Path:
        """Puts an edgeexport there that tells of this version, changed by ``facts``, and then does ``then``."""
        from edgeexport.remote.edgeexport import version_facts

        told = shlex.quote(json.dumps({**version_facts(), **facts}))
        return self.program(f'if [ "$1" = version ]; then echo {told}; exit; fi\n{then}', name)

    def kill_sessions(self) -> None:
        """Kills the sshd's of open connections, not the one that listens."""
        for child in _descendants(self.process.pid):
            with contextlib.suppress(OSError):
                if Path(f"/proc/{child}/comm").read_text().startswith("sshd"):
                    os.kill(child, signal.SIGKILL)

    def close(self) -> None:
        self.wire.close()
        self.process.terminate()
        self.process.wait()
        self.log.close()


@contextlib.contextmanager
def ssh_device(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SshDevice]:
    """Starts a device, and ends it."""
    sshd = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/sbin:/usr/local/sbin")
    if sshd is None:
        required("there is no sshd here (apt install openssh-server)")
    assert sshd is not None
    device = SshDevice(folder, sshd, monkeypatch)
    try:
        yield device
    finally:
        device.close()


@contextlib.contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[None]:
    """Mounts a disk of that size on a folder. Skips the test where nothing can be mounted, in most containers; what
    depends on it has to be tested in another way as well."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(folder)]
    ways = [prefix for prefix in ([], ["sudo", "-n"]) if not prefix or shutil.which(prefix[0])]
    for prefix in ways:
        done = subprocess.run([*prefix, *mount], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            try:
                yield
            finally:
                subprocess.run([*prefix, "umount", "-l", str(folder)], check=True)
            return
    pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
    """Waits until something holds, and fails if it does not."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s until: {what}"
        time.sleep(0.02)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _heed_signals() -> None:
    """A test run in the background ignores SIGINT, and so would its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _descendants(pid: int) -> list[int]:
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            text = stat.read_text()
            parents[int(stat.parent.name)] = int(text.rpartition(")")[2].split()[1])
    found = [pid]
    for parent in found:
        found += [child for child, its in parents.items() if its == parent]
    return found[1:]

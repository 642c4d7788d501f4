"""Connections to a real sshd: opened, refused, dropped and closed."""

from __future__ import annotations

import getpass
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ssh_device import SshDevice, ssh_device, wait_for

from edgeexport.errors import DeviceError, UsageError
from edgeexport.remote import connection as remote_connection
from edgeexport.remote import ssh
from edgeexport.remote.connection import Connection
from edgeexport.remote.ssh import Host


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SshDevice]:
    with ssh_device(tmp_path / "device", monkeypatch) as started:
        yield started


@pytest.fixture
def private_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[str]]]:
    """What lies in the folder of temporary files, which is this test's own."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield lambda: os.listdir(folder)  # noqa: PTH208


def refused(host: Host) -> DeviceError:
    with pytest.raises(DeviceError) as caught, Connection(host):
        pass
    assert caught.value.exit_code == 7 and caught.value.where == str(host) and caught.value.remedy
    return caught.value


def test_commands(device: SshDevice, private_folders: Callable[[], list[str]]) -> None:
    lines: list[str] = []
    with Connection(device.host) as connection:
        assert connection.folder == str(device.cache) and device.cache.is_dir()
        assert connection.script("echo", 'echo "$1"; cat', "a 'b' *", feed=[b"c", b"d"]) == b"a 'b' *\ncd"
        big = [os.urandom(1 << 20)] * 3
        assert connection.script("echo", "cat", feed=big) == b"".join(big)  # both ways at once, no deadlock
        done = connection.command(["sh", "-c", "echo one >&2; echo out; printf two >&2; cat; exit 3"], lines.append)
        assert (done.code, done.out, lines) == (3, b"out\n", ["one", "two"])
        assert connection.command(["no-such-program"], lines.append).code == 127
        assert connection.command(["sh", "-c", "kill -9 $$"], lines.append).code == 137
        assert len(private_folders()) == 1
    assert private_folders() == []


def test_users_configuration_holds_but_does_not_get_in_the_way(device: SshDevice) -> None:
    device.configure(
        f"Host board\nHostName 127.0.0.1\nPort {device.wire.port}\nUser {getpass.getuser()}\n"
        f"HostKeyAlias [127.0.0.1]:{device.wire.port}\n"
        "Host *\nRemoteCommand echo mine\nRequestTTY force\nControlMaster auto\nControlPersist yes\n"
        f"ControlPath {device.folder}/mux-%C\nLocalForward {device.port} localhost:1\nLogLevel QUIET"
    )
    with Connection(Host("board")) as connection:
        assert connection.script("echo", "echo theirs") == b"theirs\n"
    assert not list(device.folder.glob("mux-*"))


def test_noise_of_the_login_shell(device: SshDevice) -> None:
    (device.home / ".bashrc").write_text("echo welcome; echo motd >&2\n")
    with Connection(device.host) as connection:
        assert connection.folder == str(device.cache)
        assert connection.script("echo", "echo mine") == b"mine\n"


def test_unknown_and_changed_host_keys(device: SshDevice, private_folders: Callable[[], list[str]]) -> None:
    device.trust(None)
    error = refused(device.host)
    assert "host key is not known here" in error.problem
    assert f"ssh -p {device.wire.port} {getpass.getuser()}@127.0.0.1" in error.remedy
    device.trust("other_host_key")
    error = refused(device.host)
    assert f"not the one that is known for [127.0.0.1]:{device.wire.port}" in error.problem
    assert f"{device.folder}/client/known_hosts:1" in error.problem
    assert f"ssh-keygen -R '[127.0.0.1]:{device.wire.port}'" in error.remedy
    assert private_folders() == []


def test_refused_key(device: SshDevice) -> None:
    device.configure(key="other_user_key")
    error = refused(device.host)
    assert "Permission denied (publickey)" in error.problem and "ssh-copy-id" in error.remedy


def test_nothing_listens(device: SshDevice) -> None:
    device.wire.close()
    assert "nothing listens on that port" in refused(device.host).problem


def test_login_that_runs_nothing(device: SshDevice) -> None:
    (device.home / ".bashrc").write_text("echo This account is closed.; exit 1\n")
    error = refused(device.host)
    assert "runs no commands (This account is closed.)" in error.problem


def test_login_that_never_answers(device: SshDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_connection, "_SHELL_SECONDS", 0.5)
    (device.home / ".bashrc").write_text("sleep 30\n")
    assert "has not answered in 0 s" in refused(device.host).problem


def test_cache_folder_that_cannot_be_made(device: SshDevice) -> None:
    (device.home / ".cache").write_text("")
    error = refused(device.host)
    assert "could not make the cache folder" in error.problem and "Not a directory" in error.problem


def test_dropped_connection(device: SshDevice, private_folders: Callable[[], list[str]]) -> None:
    with Connection(device.host) as connection:
        device.kill_sessions()
        with pytest.raises(DeviceError, match="the connection was dropped") as caught:
            connection.script("echo", "echo x")
        assert caught.value.remedy == "run the same command again: it resumes"
    assert private_folders() == []


def test_silence_is_a_dropped_connection(device: SshDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh, "_ALIVE_SECONDS", 1)
    monkeypatch.setattr(ssh, "_ALIVE_COUNT", 1)
    with Connection(device.host) as connection:
        device.wire.stalled = True
        with pytest.raises(DeviceError, match=r"the connection was dropped \(Timeout, server .* not responding"):
            connection.script("echo", "echo x")


def test_dropped_while_a_command_runs(device: SshDevice) -> None:
    """The command there is interrupted as by Ctrl-C; one that does not heed it is ended ten seconds later."""
    script = f"trap 'echo stopped > {device.folder}/got; exit' INT; echo begun >&2; sleep 60 >&- 2>&- & wait"
    with Connection(device.host) as connection, pytest.raises(DeviceError, match="dropped") as caught:
        connection.command(["sh", "-c", script], lambda line: device.wire.cut())
    assert "it resumes" in caught.value.remedy
    wait_for(lambda: (device.folder / "got").is_file(), "the command there hears of it")


def test_interrupted_while_a_command_runs(device: SshDevice, private_folders: Callable[[], list[str]]) -> None:
    def interrupt(line: str) -> None:
        raise KeyboardInterrupt

    script = f"trap 'echo stopped > {device.folder}/got; exit' INT; echo begun >&2; sleep 60 >&- 2>&- & wait"
    with pytest.raises(KeyboardInterrupt), Connection(device.host) as connection:
        connection.command(["sh", "-c", script], interrupt)
    assert (device.folder / "got").read_text() == "stopped\n"  # it had the time to clear up
    assert private_folders() == []


def test_no_ssh_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UsageError, match="openssh-client"), Connection(Host("orin")):
        pass


def test_folder_for_the_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket's path is short, and ssh expands some letters in it."""
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    for name in ("long" * 25, "a b", "%h", "${HOME}"):
        (tmp_path / name).mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / name))
        folder = remote_connection._private_folder()
        assert folder.parent == Path("/tmp") and folder.stat().st_mode & 0o077 == 0
        folder.rmdir()

"""with-clocks.sh puts power mode and clocks back, however its command ends. With stand-ins for the Jetson's programs."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from device_programs import SCRIPT, FakeDevice, fake_device, wait_for, worker

SHOW = 'cat "$0/mode" "$0/clocks"; '


@pytest.fixture
def device(tmp_path: Path) -> FakeDevice:
    return fake_device(tmp_path)


def shell(device: FakeDevice, code: str) -> list[str]:
    return ["bash", "-c", code, str(device.folder / "device")]


def test_sets_runs_and_puts_back(device: FakeDevice) -> None:
    done = device.run("--mode", "MAXN", "--", *shell(device, SHOW + "exit 0"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["0", "pinned"]
    assert device.untouched and not device.left_over
    assert "power mode MAXN, id 0, clocks pinned" in done.stderr and "are as they were" in done.stderr
    changes = [line for line in device.log if line != "nvpmodel -q"]
    assert changes == [
        "jetson_clocks --store FILE",
        "nvpmodel -m 0",
        "jetson_clocks --store FILE",
        "jetson_clocks  ",
        "jetson_clocks --restore FILE",
        "nvpmodel -m 2",
        "jetson_clocks --restore FILE",
    ]


@pytest.mark.parametrize(
    ("options", "inside"),
    [
        (("--mode", "3"), ["3", "pinned"]),
        (("--mode", "mode_50w"), ["3", "pinned"]),
        (("--mode", "MODE_30W"), ["2", "pinned"]),
        ((), ["2", "pinned"]),
        (("--mode", "0", "--no-clocks"), ["0", "free"]),
    ],
)
def test_options(device: FakeDevice, options: tuple[str, ...], inside: list[str]) -> None:
    done = device.run(*options, *shell(device, SHOW))
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == inside
    assert device.untouched and not device.left_over


@pytest.mark.parametrize("code", [1, 8, 77, 127, 255])
def test_the_exit_code_is_the_commands(device: FakeDevice, code: int) -> None:
    assert device.run("--mode", "MAXN", *shell(device, f"exit {code}")).returncode == code
    assert device.untouched and not device.left_over


def test_a_command_that_does_not_exist(device: FakeDevice) -> None:
    assert device.run("--mode", "MAXN", "no-such-program-here").returncode == 127
    assert device.untouched


def test_arguments_arrive_as_they_are(device: FakeDevice) -> None:
    arguments = ["a b", "--mode", "$HOME", "'", "*"]
    done = device.run("--", sys.executable, "-c", "import sys; print(sys.argv[1:])", *arguments)
    assert done.stdout.strip() == str(arguments)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_signals_reach_the_command_and_everything_is_put_back(device: FakeDevice, tmp_path: Path, name: str) -> None:
    number = getattr(signal, name)
    process = device.start("--mode", "MAXN", "--", *worker(tmp_path))
    wait_for(tmp_path / "started")
    assert (device.mode, device.clocks) == ("0", "pinned")
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 128 + number, err
    assert (tmp_path / "got").read_text().split() == [name]
    assert device.untouched and not device.left_over


def test_an_interrupt_from_the_terminal_arrives_once(device: FakeDevice, tmp_path: Path) -> None:
    """A terminal sends it to the whole group; the command gets it from the script, and time to end."""
    last_words = "time.sleep(0.5); (folder / 'ended').touch(); exit(0)"
    process = device.start("--mode", "MAXN", "--", *worker(tmp_path, on_signal=last_words))
    wait_for(tmp_path / "started")
    for child in _group(process.pid):
        os.kill(child, signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130
    assert (tmp_path / "got").read_text().split() == ["SIGINT"]
    assert (tmp_path / "ended").exists()
    assert device.untouched


def _group(process: int) -> list[int]:
    """The processes of the script's group: itself, its shells and programs, but not the command."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    group = os.getpgid(process)
    return [process, *(child for child in map(int, children) if os.getpgid(child) == group)]


def test_a_second_signal_kills_a_command_that_stays(device: FakeDevice, tmp_path: Path) -> None:
    process = device.start("--mode", "MAXN", "--", *worker(tmp_path, on_signal="pass"))
    wait_for(tmp_path / "started")
    process.send_signal(signal.SIGTERM)
    wait_for(tmp_path / "got")
    assert process.poll() is None
    assert device.clocks == "pinned"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 143
    assert device.untouched and not device.left_over


def test_a_signal_while_the_mode_is_being_set(device: FakeDevice, tmp_path: Path) -> None:
    device.mark("slow-mode")
    process = device.start("--mode", "MAXN", "--", *worker(tmp_path))
    wait_for(device.folder / "device" / "setting-mode")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 143
    assert not (tmp_path / "started").exists()
    assert device.untouched


@pytest.mark.parametrize(
    ("trouble", "message"),
    [
        ("mode-fails", "failed to set power mode!"),
        ("needs-reboot", "sudo nvpmodel -m 0"),
        ("pin-fails", "could not pin"),
    ],
)
def test_what_cannot_be_set_is_put_back_and_nothing_runs(device: FakeDevice, trouble: str, message: str) -> None:
    device.mark(trouble)
    done = device.run("--mode", "MAXN", *shell(device, "echo ran"))
    assert done.returncode == 1
    assert message in done.stderr
    assert "ran" not in done.stdout
    assert device.untouched


def test_never_reboots(device: FakeDevice) -> None:
    device.mark("needs-reboot")
    device.run("--mode", "MAXN", "true")
    assert "answered no" in device.log
    assert not (device.folder / "device" / "rebooted").exists()


@pytest.mark.parametrize(("command", "code"), [("true", 1), ("exit 5", 5)])
def test_failing_to_put_back_is_told_with_what_to_do(device: FakeDevice, command: str, code: int) -> None:
    device.mark("restore-fails")
    done = device.run("--mode", "MAXN", *shell(device, command))
    assert done.returncode == code
    assert "could not put everything back" in done.stderr and "sudo nvpmodel -m 2" in done.stderr
    assert device.left_over, "the stored clocks are needed"


def test_not_two_at_once(device: FakeDevice, tmp_path: Path) -> None:
    process = device.start("--", *worker(tmp_path))
    wait_for(tmp_path / "started")
    done = device.run("--mode", "MAXN", "true")
    assert done.returncode == 1 and "another with-clocks.sh is running" in done.stderr
    assert device.mode == "2"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert device.run("--mode", "MAXN", "true").returncode == 0
    assert device.untouched


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "no command"),
        (("--mode",), "needs a name"),
        (("--mode", "TURBO", "true"), "known: MAXN MODE_30W MODE_50W"),
        (("--moed", "MAXN", "true"), "no such option"),
        (("--no-clocks", "true"), "nothing to set"),
    ],
)
def test_wrong_arguments(device: FakeDevice, arguments: tuple[str, ...], message: str) -> None:
    done = device.run(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert device.untouched


def test_without_the_programs(device: FakeDevice) -> None:
    (device.folder / "bin" / "jetson_clocks").unlink()
    done = device.run("true")
    assert done.returncode == 1
    assert "jetson_clocks | not found" in done.stderr


def test_help_is_the_text_at_the_top(device: FakeDevice) -> None:
    done = device.run("--help")
    assert done.returncode == 0
    assert "--mode NAME|ID" in done.stdout and "set -euo" not in done.stdout


@pytest.fixture
def shared_device() -> Iterator[FakeDevice]:
    """A device whose files another user may change: pytest's own folders are closed to others."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        device = fake_device(folder)
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o777)
        shutil.copy(SCRIPT, folder / "with-clocks.sh")
        (folder / "with-clocks.sh").chmod(0o755)
        yield device


def test_another_user_goes_through_sudo(shared_device: FakeDevice) -> None:
    user = 65534 if os.geteuid() == 0 else None
    folder = shared_device.folder
    command = shell(shared_device, SHOW + "id -u")
    process = shared_device.start("--mode", "MAXN", "--", *command, script=folder / "with-clocks.sh", user=user)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert out.split() == ["0", "pinned", str(os.geteuid() if user is None else user)]
    assert shared_device.untouched and not shared_device.left_over
    log = shared_device.log
    assert "sudo -- nvpmodel -m 0" in log and "sudo -- jetson_clocks" in log
    assert not [line for line in log if line.startswith("sudo") and "bash -c" in line]

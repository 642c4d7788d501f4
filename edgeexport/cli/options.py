"""``--host`` and ``--remote-command``, which several commands take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from edgeexport.errors import UsageError

if TYPE_CHECKING:
    from edgeexport.remote.commands import Device

__all__ = ["HostOption", "RemoteCommandOption", "device_from_options", "refuse_with_host"]

HostOption = Annotated[
    str | None,
    typer.Option(
        metavar="ssh://[user@]host[:port]",
        help="Do it on that device: send the bundle there, bring the results back. Logs in with the keys and the "
        "configuration of ssh; asks for nothing.",
    ),
]
RemoteCommandOption = Annotated[
    str | None,
    typer.Option(
        "--remote-command",
        help="How edgeexport is called there, such as /home/me/venv/bin/edgeexport or 'docker run ... edgeexport'; "
        "edgeexport by default.",
    ),
]


def device_from_options(host: str | None, remote_command: str | None) -> Device | None:
    """The device of ``--host``; None without.

    Raises:
        UsageError: No address; no command; a command without a host.
    """
    if host is None:
        if remote_command is not None:
            raise UsageError("--remote-command", "needs a device", "give --host ssh://user@host as well")
        return None
    from edgeexport.remote.commands import Device
    from edgeexport.remote.edgeexport import REMOTE_COMMAND, command_words
    from edgeexport.remote.ssh import host_from_url

    command = REMOTE_COMMAND if remote_command is None else remote_command
    command_words(command)
    return Device(host_from_url(host), command)


def refuse_with_host(reason: str, **given: object) -> None:
    """Refuses options that have no meaning on a device; ``given`` has their names in Python.

    Raises:
        UsageError: One of them is given.
    """
    names = [f"--{name.replace('_', '-')}" for name, value in given.items() if value]
    if names:
        raise UsageError(", ".join(names), f"cannot be given with --host: {reason}", f"leave {' and '.join(names)} out")

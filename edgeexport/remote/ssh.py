"""Addresses of devices (``ssh://user@host[:port]``), and the command lines of the system's OpenSSH client.

Nothing a user or a bundle names reaches a shell unquoted: host and user are held to a narrow alphabet, because OpenSSH
itself puts them into the commands of a configuration (``ProxyCommand ... %h``); whatever else goes to the device is an
argument that `remote_command` quotes.
"""

from __future__ import annotations

import ipaddress
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from edgeexport.errors import UsageError

__all__ = ["MARK", "Host", "host_from_url", "master_command", "remote_command", "session_command"]

MARK = "edgeexport-remote-begin"
"""Printed before a script's own output: what stands before it comes from the login shell's start-up files."""

_URL = re.compile(
    r"ssh://(?:(?P<user>[^@/?#]*)@)?(?P<name>\[[^\]]*\]|[^:@/?#\[\]]*)(?::(?P<port>[^@/?#]*))?(?P<rest>.*)", re.S
)
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_ZONE = re.compile(r"[A-Za-z0-9_.-]+")
_EXPECTED = "give ssh://user@host, or ssh://user@host:port; user and host may be left to ~/.ssh/config"

_CONNECT_SECONDS = 15
_ALIVE_SECONDS, _ALIVE_COUNT = 10, 3


@dataclass(frozen=True)
class Host:
    """A device to log in to; what is None is left to the user's ssh configuration. ``name`` may be an alias of it."""

    name: str
    user: str | None = None
    port: int | None = None

    def __str__(self) -> str:
        return f"ssh://{self.user + '@' if self.user else ''}{self.place}"

    @property
    def place(self) -> str:
        """Without the user, who is no business of whoever reads a bundle: ``orin`` or ``[fe80::1]:2222``."""
        name = f"[{self.name}]" if ":" in self.name else self.name
        return name if self.port is None else f"{name}:{self.port}"

    @property
    def ssh_by_hand(self) -> str:
        """The command that connects without edgeexport."""
        port = [] if self.port is None else ["-p", str(self.port)]
        return shlex.join(["ssh", *port, f"{self.user}@{self.name}" if self.user else self.name])


def host_from_url(text: str) -> Host:
    """Reads an address.

    Raises:
        UsageError: No such URL, one with more than user, host and port (a password is not repeated in the message), or
            names with letters that mean something to ssh or a shell.
    """
    match = _URL.fullmatch(text)
    if match is None:
        raise UsageError(f"--host {_shown(text)}", "is no ssh address", _EXPECTED)
    user, name, port, rest = match["user"], match["name"], match["port"], match["rest"]
    if user is not None and ":" in user:
        raise UsageError(
            "--host ssh://...:...@...", "holds a password", "leave it out and log in with a key (ssh-copy-id user@host)"
        )
    where = f"--host {_shown(text)}"
    if rest:
        raise UsageError(where, f"{rest!r} stands behind the host, expected nothing there", _EXPECTED)
    if user is not None and not _USER.fullmatch(user):
        raise UsageError(where, f"the user {user!r} is empty or has letters other than A-Z a-z 0-9 _ . + -", _EXPECTED)
    if name.startswith("["):
        name = _ipv6(name[1:-1], where)
    elif not _NAME.fullmatch(name):
        remedy = f"{_EXPECTED}; a Host entry in ~/.ssh/config can give any host a plain name"
        raise UsageError(where, f"the host {name!r} is empty or has letters other than A-Z a-z 0-9 _ . -", remedy)
    if port is None:
        return Host(name, user)
    if not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):
        raise UsageError(where, f"the port is {port!r}, expected a number from 1 to 65535", _EXPECTED)
    return Host(name, user, int(port))


def master_command(ssh: str, host: Host, socket: str, command: str) -> list[str]:
    """The connection that the others share, with the user's configuration (keys, aliases, jump hosts, known hosts).

    Overridden is only what would ask questions, forward things, or let it go to the background.

    Args:
        ssh: The program.
        socket: Path of the control socket.
        command: What it runs on the device itself, as `remote_command` writes it.
    """
    options = {
        "BatchMode": "yes",
        "ConnectTimeout": _CONNECT_SECONDS,
        "ServerAliveInterval": _ALIVE_SECONDS,
        "ServerAliveCountMax": _ALIVE_COUNT,
        "ControlPersist": "no",
        "ClearAllForwardings": "yes",
        "PermitLocalCommand": "no",
        "RemoteCommand": "none",
        "LogLevel": "INFO",
    }
    given = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
    user = ["-l", host.user] if host.user is not None else []
    port = ["-p", str(host.port)] if host.port is not None else []
    return [ssh, "-M", "-S", socket, "-T", "-a", "-x", *given, *user, *port, "--", host.name, command]


def session_command(ssh: str, host: Host, socket: str, command: str) -> list[str]:
    """A command through the shared connection, and through nothing else: where it is gone, this fails.

    The user's configuration is the master's affair; a ``RemoteCommand`` in it would be in the way here.
    """
    never = ["-o", "ControlMaster=no", "-o", "ProxyCommand=false", "-o", "BatchMode=yes", "-o", "LogLevel=ERROR"]
    return [ssh, "-F", "none", "-S", socket, "-T", "-a", "-x", *never, "--", host.name, command]


def remote_command(script: str, arguments: Sequence[str] = ()) -> str:
    """One line for the login shell, whichever it is: a script for ``sh``, its arguments as ``$1 $2 ...``, both quoted.

    Raises:
        ValueError: A line break or NUL, which not every login shell takes within quotes.
    """
    words = ["sh", "-c", f"printf '%s\\n' {MARK}; {script}", "sh", *arguments]
    if any(character in word for word in words for character in "\n\r\0"):
        raise ValueError("a line break or NUL in a remote command")
    return shlex.join(words)


def _ipv6(text: str, where: str) -> str:
    address, _, zone = text.partition("%")
    try:
        ipaddress.IPv6Address(address)
    except ValueError:
        raise UsageError(where, f"{text!r} is no IPv6 address", _EXPECTED) from None
    if "%" in text and not _ZONE.fullmatch(zone):
        raise UsageError(where, f"{text!r} has no zone behind %", _EXPECTED)
    return text


def _shown(text: str) -> str:
    """For a message of one line."""
    return text if text.isprintable() else ascii(text)

"""Addresses of devices, what of them reaches ssh, and ssh's words as our errors."""

from __future__ import annotations

import shlex
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeexport.errors import UsageError
from edgeexport.remote.edgeexport import command_words
from edgeexport.remote.failures import connection_failure, script_failure
from edgeexport.remote.ssh import MARK, Host, host_from_url, master_command, remote_command, session_command


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("ssh://orin", Host("orin")),
        ("ssh://me@orin", Host("orin", "me")),
        ("ssh://me.b+c-d_e@10.0.0.7:2222", Host("10.0.0.7", "me.b+c-d_e", 2222)),
        ("ssh://me@[::1]", Host("::1", "me")),
        ("ssh://me@[fe80::1%eth0]:22", Host("fe80::1%eth0", "me", 22)),
    ],
)
def test_addresses(url: str, host: Host) -> None:
    assert host_from_url(url) == host
    assert str(host) == url


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("orin", "is no ssh address"),
        ("http://orin", "is no ssh address"),
        ("-oProxyCommand=touch x", "is no ssh address"),
        ("ssh://", "the host '' is empty"),
        ("ssh://me@", "the host '' is empty"),
        ("ssh://@orin", "the user '' is empty"),
        ("ssh://-oProxyCommand=x", "the host '-oProxyCommand=x' "),
        ("ssh://-lroot@orin", "the user '-lroot' "),
        ("ssh://me@-F", "the host '-F' "),
        ("ssh://me@or in", "the host 'or in' "),
        ("ssh://me@`id`", "the host '`id`' "),
        ("ssh://$(id)@orin", "the user '$(id)' "),
        ("ssh://m%65@orin", "the user 'm%65' "),
        ("ssh://me@you@orin", "'@orin' stands behind the host"),
        ("ssh://me@jets\u00f6n", "the host 'jetsön' "),
        ("ssh://me@orin\n", "the host 'orin\\n' "),
        ("ssh://me@orin/home", "'/home' stands behind the host"),
        ("ssh://me@orin/", "'/' stands behind the host"),
        ("ssh://me@orin?a=b", "'?a=b' stands behind the host"),
        ("ssh://me@orin#a", "'#a' stands behind the host"),
        ("ssh://me@orin:", "the port is '',"),
        ("ssh://me@orin:0", "the port is '0',"),
        ("ssh://me@orin:65536", "the port is '65536',"),
        ("ssh://me@orin:22 -F", "the port is '22 -F',"),
        ("ssh://me@orin:²", "the port is '²',"),
        ("ssh://me@[orin]", "is no IPv6 address"),
        ("ssh://me@[::1", "'[::1' stands behind the host"),
        ("ssh://me@[::1%-F x]", "has no zone"),
    ],
)
def test_addresses_refused(url: str, found: str) -> None:
    with pytest.raises(UsageError) as caught:
        host_from_url(url)
    assert found in str(caught.value) and "ssh://user@host" in caught.value.remedy
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("url", ["ssh://me:secret@orin", "ssh://:secret@orin:22", "ssh://me:secret@orin/x"])
def test_password_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(UsageError, match="holds a password") as caught:
        host_from_url(url)
    assert "secret" not in str(caught.value)


@given(st.text(max_size=20))
def test_whatever_an_address_says_is_no_option(text: str) -> None:
    try:
        host = host_from_url(f"ssh://{text}")
    except UsageError:
        return
    for words in (master_command("ssh", host, "s", "c"), session_command("ssh", host, "s", "c")):
        assert words[-3:-1] == ["--", host.name] and not host.name.startswith("-")
        assert host.user is None or not host.user.startswith("-")


def test_connection_asks_nothing_and_forwards_nothing() -> None:
    words = master_command("ssh", Host("orin", "me", 2222), "/tmp/x/s", "command")
    assert "BatchMode=yes" in words and "ClearAllForwardings=yes" in words and "-a" in words
    assert any(word.startswith("ConnectTimeout=") for word in words)
    assert words[words.index("-p") + 1] == "2222" and words[words.index("-l") + 1] == "me"
    plain = master_command("ssh", Host("orin"), "/tmp/x/s", "command")
    assert "-l" not in plain and "-p" not in plain  # the user's configuration says


@given(
    st.lists(
        st.text(st.characters(blacklist_characters="\0\n\r", blacklist_categories=["Cs"]), max_size=12), max_size=4
    )
)
def test_arguments_arrive_as_they_are(arguments: list[str]) -> None:
    line = remote_command("printf '<%s>\\n' \"$@\"", arguments)
    done = subprocess.run(["sh", "-c", line], capture_output=True, check=True)
    expected = "".join(f"<{argument}>\n" for argument in arguments or [""])
    assert done.stdout.decode() == f"{MARK}\n{expected}"


@pytest.mark.parametrize("text", ["a\nb", "a\rb", "a\0b"])
def test_line_breaks_do_not_go_into_a_command(text: str) -> None:
    with pytest.raises(ValueError, match="line break"):
        remote_command("true", [text])


def test_command_on_the_device() -> None:
    assert command_words("docker run --rm 'a b' edgeexport") == ["docker", "run", "--rm", "a b", "edgeexport"]
    for text in ("", "  ", "a 'b", "a\nb"):
        with pytest.raises(UsageError, match="--remote-command"):
            command_words(text)


# What OpenSSH 9.2 prints.
CHANGED = """@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
IT IS POSSIBLE THAT SOMEONE IS DOING SOMETHING NASTY!
Offending ED25519 key in /home/me/.ssh/known_hosts:3
Host key for [10.0.0.7]:2222 has changed and you have requested strict checking.
Host key verification failed.
"""


@pytest.mark.parametrize(
    ("said", "problem", "remedy"),
    [
        (
            CHANGED,
            "not the one that is known for [10.0.0.7]:2222 (/home/me/.ssh/known_hosts:3)",
            "ssh-keygen -R '[10.0",
        ),
        ("Host key verification failed.\n", "is not known here", "ssh -p 2222 me@orin"),
        (
            "No ED25519 host key is known for orin and you have requested strict checking.\n",
            "is not known",
            "fingerprint",
        ),
        ("me@orin: Permission denied (publickey).\n", "Permission denied (publickey)", "ssh-copy-id"),
        ("ssh: Could not resolve hostname orin: Name or service not known\n", "name is not known", "IP address"),
        ("ssh: connect to host orin port 2222: Connection refused\n", "nothing listens", "port"),
        ("ssh: connect to host orin port 2222: Connection timed out\n", "does not answer", "switched on"),
        ("ssh: connect to host orin port 2222: No route to host\n", "cannot be reached", "network"),
        (
            "/home/me/.ssh/config: line 3: Bad configuration option: x\n",
            "Bad configuration option",
            "ssh -p 2222 me@orin -v",
        ),
        ("", "ssh says nothing", "-v"),
    ],
)
def test_no_connection(said: str, problem: str, remedy: str) -> None:
    error = connection_failure(Host("orin", "me", 2222), said)
    assert error.exit_code == 7 and error.where == "ssh://me@orin:2222"
    assert problem in error.problem and remedy in error.remedy
    assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ("cat: write error: No space left on device\n", "the disk is full: could not receive x"),
        ("cat: write error: Disk quota exceeded\n", "the disk is full"),
        ("sh: 1: sha256sum: not found\n", "sha256sum: not found"),
        ("mkdir: cannot create directory 'x': Permission denied\n", "Permission denied"),
        ("", "exit code 1"),
    ],
)
def test_script_that_failed(said: str, problem: str) -> None:
    error = script_failure(Host("orin"), "receive x", 1, said)
    assert error.exit_code == 7 and problem in error.problem and error.remedy
    assert shlex.quote(error.where) == "ssh://orin"

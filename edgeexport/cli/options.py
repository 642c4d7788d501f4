"""Options that several commands take, each declared once; and what ``--host`` makes of its own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeexport.errors import UsageError

if TYPE_CHECKING:
    from edgeexport.remote.commands import Device

__all__ = [
    "BundleArgument",
    "CfgOptions",
    "CheckpointOption",
    "DsmOption",
    "EngineOption",
    "HostOption",
    "ImageSuffixOption",
    "JsonFlag",
    "LabelSuffixOption",
    "LimitOption",
    "NoCacheFlag",
    "PrefixOption",
    "RandomOption",
    "ReduceZeroLabelFlag",
    "RemoteCommandOption",
    "RestartFlag",
    "TomeOption",
    "TrustFileOption",
    "TrustOption",
    "UnmergeBeforeOption",
    "device_from_options",
    "file_options",
    "recipe_options",
    "refuse_with_host",
]

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output, and nothing else.")]
NoCacheFlag = Annotated[
    bool,
    typer.Option(
        "--no-cache", help="Run torch's exporter, whatever the cache holds (~/.cache/edgeexport), and keep nothing."
    ),
]
BundleArgument = Annotated[Path, typer.Argument(help="A bundle folder.")]

CheckpointOption = Annotated[Path | None, typer.Option(help="Weights, instead of the recipe's.")]
TomeOption = Annotated[
    str | None, typer.Option("--tome", metavar="R", help="ToMe: tokens to merge per block; sets reduction.tome.r.")
]
DsmOption = Annotated[
    str | None, typer.Option("--dsm", metavar="R", help="DSM: tokens to merge per block; sets reduction.dsm.r.")
]
RandomOption = Annotated[
    str | None, typer.Option("--random", metavar="R", help="At random, the floor to beat; sets reduction.random.r.")
]
PrefixOption = Annotated[
    int | None,
    typer.Option(
        help="ONNX file: tokens ahead of the patches, where they are not found out; sets model.prefix.", min=0
    ),
]
UnmergeBeforeOption = Annotated[
    str | None,
    typer.Option(
        metavar="VALUE",
        help="ONNX file: the value with all tokens ahead of which merged ones are brought back; sets model.unmerge_before.",
    ),
]
CfgOptions = Annotated[list[str] | None, typer.Option("--cfg-options", help="key=value, one or several; repeatable.")]
EngineOption = Annotated[
    str, typer.Option(help="auto: the bundle's engine if one was built here, else model.onnx; none: model.onnx.")
]

LimitOption = Annotated[int | None, typer.Option(help="Only the first so many images by name.")]
ImageSuffixOption = Annotated[
    str | None, typer.Option(metavar="SUFFIX", help="What images' names end in, such as _leftImg8bit.png.")
]
LabelSuffixOption = Annotated[
    str | None,
    typer.Option(metavar="SUFFIX", help="What annotations' names end in, such as _gtFine_labelTrainIds.png."),
]
ReduceZeroLabelFlag = Annotated[
    bool | None,
    typer.Option(
        "--reduce-zero-label/--no-reduce-zero-label",
        help="In the annotations 0 is no class and classes begin with 1; by default as mmsegmentation's config says.",
    ),
]
TrustOption = Annotated[
    list[str] | None,
    typer.Option(
        "--trust",
        metavar="SHA256",
        help="Load a plugin library or an engine of this sha256 that was not made on this machine; repeatable.",
    ),
]
TrustFileOption = Annotated[
    list[Path] | None,
    typer.Option("--trust-file", help="The same of a file that sha256sum wrote; also EDGEEXPORT_TRUST_FILE."),
]
RestartFlag = Annotated[bool, typer.Option("--restart", help="Drop what an interrupted run has measured.")]

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


def recipe_options(
    cfg_options: list[str] | None, *, tome: str | None, dsm: str | None, random: str | None
) -> tuple[str, ...]:
    """``--tome 8`` and the like as what they are short for, ahead of ``--cfg-options``, which may add a method's other keys."""
    given = {"tome": tome, "dsm": dsm, "random": random}
    short = [f"reduction.{key}.r={r}" for key, r in given.items() if r is not None]
    return (*short, *(cfg_options or ()))


def file_options(prefix: int | None, unmerge_before: str | None) -> tuple[str, ...]:
    """What is said of an ONNX file, as options of its recipe."""
    given = {"prefix": prefix, "unmerge_before": unmerge_before}
    return tuple(f"model.{key}={value!r}" for key, value in given.items() if value is not None)


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

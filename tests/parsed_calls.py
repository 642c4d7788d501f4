"""A line of shell held to the real argument parser: nothing runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import typer

from edgeexport.cli.app import app

__all__ = ["parse_call"]


def parse_call(words: Sequence[str]) -> dict[str, Any]:
    """The options of a call, ``words`` without the program's name.

    Raises:
        UsageError: What the command would say of it, exit code 2.
    """
    command: Any = typer.main.get_command(app)
    context, rest = command.make_context("edgeexport", list(words)), list(words)
    while hasattr(command, "commands"):
        rest = [*context._protected_args, *context.args]
        name, command, rest = command.resolve_command(context, rest)
        context = command.make_context(name, rest, parent=context)
    return context.params

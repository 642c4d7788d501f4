"""How every command is called: ``-q`` and ``-v`` in any place, mistakes as errors of our own, examples under the help."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from edgeexport.cli.examples import EXAMPLES
from edgeexport.cli.several import SeveralCfgOptions
from edgeexport.errors import UsageError, near_name
from edgeexport.terminal.verbosity import set_verbosity

__all__ = ["Command", "Group"]

_VERBOSITY = {"-q": "quiet", "--quiet": "quiet", "-v": "verbose", "--verbose": "verbose"}
_CALL_PROBLEM: Any = typer.BadParameter.__base__  # click's UsageError, wherever this version of typer keeps click


class Command(SeveralCfgOptions):
    """A command with examples under its help."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """See click; ``-q`` and ``-v`` are taken out wherever they stand ahead of a ``--``."""
        with _told_as_ours(ctx):
            return super().parse_args(ctx, _without_verbosity(args))

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """See click. What is written into ``formatter`` comes behind what rich has printed."""
        super().format_help(ctx, formatter)
        _write_examples(ctx, formatter)


class Group(TyperGroup):
    """A group of commands, the whole command line among them."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """See click."""
        with _told_as_ours(ctx):
            return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """See click, which complains here of a missing command."""
        with _told_as_ours(ctx):
            return super().invoke(ctx)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """See click.

        Raises:
            UsageError: No command of that name.
        """
        if args and args[0] not in self.commands and not ctx.resilient_parsing:
            close = near_name(args[0], self.commands)
            remedy = f"did you mean '{close}'?" if close else f"`{ctx.command_path} --help` lists them"
            raise UsageError(args[0], f"is no command of {ctx.command_path}", remedy)
        return super().resolve_command(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """See click."""
        super().format_help(ctx, formatter)
        _write_examples(ctx, formatter)


@contextlib.contextmanager
def _told_as_ours(ctx: Any) -> Iterator[None]:
    """Turns click's complaints of a call into a `UsageError`, so that ``--json`` prints them as any other error."""
    try:
        yield
    except _CALL_PROBLEM as problem:
        if type(problem).__name__ == "NoArgsIsHelpError":
            raise
        _raise_as_ours(ctx, problem)


def _raise_as_ours(ctx: Any, problem: Any) -> NoReturn:
    known = f"`{ctx.command_path} --help` lists its options"
    option = getattr(problem, "option_name", None)
    parameter = getattr(problem, "param", None)
    if type(problem).__name__ == "NoSuchOption":
        close = near_name(str(option), _options(ctx))
        raise UsageError(
            str(option), f"is no option of {ctx.command_path}", f"did you mean '{close}'?" if close else known
        ) from None
    where = ctx.command_path
    if parameter is not None:
        where = (
            parameter.opts[0]
            if parameter.opts[0].startswith("-")
            else str(parameter.metavar or parameter.name).partition("|")[0]
        )
    elif option:
        where = str(option)
    if type(problem).__name__ == "MissingParameter":
        raise UsageError(where, f"is missing behind {ctx.command_path}", f"`{ctx.command_path} --help` has examples")
    message = str(problem.message).rstrip(".")
    raise UsageError(where, message[:1].lower() + message[1:], known) from None


def _options(ctx: Any) -> list[str]:
    return [name for parameter in ctx.command.get_params(ctx) for name in (*parameter.opts, *parameter.secondary_opts)]


def _without_verbosity(args: list[str]) -> list[str]:
    end = args.index("--") if "--" in args else len(args)
    for word in args[:end]:
        if word in _VERBOSITY:
            set_verbosity(_VERBOSITY[word])
    return [word for word in args[:end] if word not in _VERBOSITY] + args[end:]


def _write_examples(ctx: Any, formatter: Any) -> None:
    name = " ".join(ctx.command_path.split()[1:])
    examples = EXAMPLES.get(name, ())
    formatter.write("Examples:\n\n" if examples else "")
    for what, line in examples:
        formatter.write(f"  {what}\n    {line}\n\n")
    if name:
        formatter.write("-q and -v work behind every command: fewer words, or more.\n")

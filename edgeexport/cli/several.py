"""``--cfg-options a=1 b=2``: several values behind one option, as mmengine's own scripts take them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from typer.core import TyperCommand

__all__ = ["SeveralCfgOptions"]

_OPTION = "--cfg-options"
_KEY_VALUE = re.compile(r"[A-Za-z_][\w.\-]*=")


class SeveralCfgOptions(TyperCommand):
    """A command whose ``--cfg-options`` ends at the next word that is no ``key=value``, or that names a file."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """See click."""
        return super().parse_args(ctx, _repeated(args))


def _repeated(args: list[str]) -> list[str]:
    """``args`` with the option written ahead of each of its values."""
    result: list[str] = []
    inside = False
    for position, word in enumerate(args):
        if word == "--":
            return [*result, *args[position:]]
        first = inside and result[-1] == _OPTION
        if inside and not first and _KEY_VALUE.match(word) and not Path(word).exists():
            result.append(_OPTION)
        elif inside and not first:
            inside = False
        if word == _OPTION or word.startswith(f"{_OPTION}="):
            inside = True
        result.append(word)
    return result

"""A language model's answer on a terminal, as it grows, and what it took."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeexport.terminal.output import print_line, results_console

if TYPE_CHECKING:
    from edgeexport.commands.answer import Answer

__all__ = ["AnswerShown", "print_answer"]


class AnswerShown:
    """Prints text as it comes; nothing where it is ``quiet``."""

    def __init__(self, quiet: bool) -> None:
        self.quiet, self._any = quiet, False

    def add(self, text: str) -> None:
        """More of the answer."""
        if not self.quiet and text:
            results_console.print(text, end="", markup=False, highlight=False, soft_wrap=True)
            self._any = True

    def end(self) -> None:
        """Closes the line."""
        if self._any:
            results_console.print()


def print_answer(answer: Answer) -> None:
    """Speed, cache and pictures; that the weights mean nothing, where they do."""
    print_line(answer.summary, "dim")
    for path in answer.pictures:
        print_line(f"visual tokens: {path}", "dim")
    if answer.notice:
        print_line(f"{answer.notice}; so does this text", "yellow")

"""A progress bar on stderr, shown only on a terminal."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import click


class Bar(Protocol):
    """A progress bar, or its stand-in without a terminal."""

    def reach(self, done: int) -> None:
        """Show that `done` of the total are done."""

    def say(self, line: str) -> None:
        """Print a line on stderr, above the bar if there is one."""


class _NoBar:
    def reach(self, done: int) -> None:
        pass

    def say(self, line: str) -> None:
        click.echo(line, err=True)


@contextmanager
def progress(label: str, total: int, *, is_wanted: bool = True) -> Iterator[Bar]:
    """Show a bar inside the `with` block; without a terminal, or with a total of 0, only lines are printed."""
    if not (is_wanted and total and sys.stderr.isatty()):
        yield _NoBar()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = [TextColumn(label), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
    with Progress(*columns, console=Console(stderr=True)) as shown:
        task = shown.add_task("", total=total)

        class _RichBar:
            def reach(self, done: int) -> None:
                shown.update(task, completed=done)

            def say(self, line: str) -> None:
                shown.console.print(line, markup=False, highlight=False, soft_wrap=True)

        yield _RichBar()


def one_line(text: str) -> str:
    """The text without newlines, control characters or anything else a terminal would act upon."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())

"""A bar on stderr for long work, on a terminal only."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import click


class Bar(Protocol):
    """Shows how far the work is."""

    def reach(self, done: int) -> None:
        """This many are done."""
        ...

    def say(self, line: str) -> None:
        """Print a line on stderr, above the bar if there is one."""
        ...


class _NoBar:
    def reach(self, done: int) -> None:
        pass

    def say(self, line: str) -> None:
        click.echo(line, err=True)


@contextmanager
def progress(label: str, total: int, *, is_wanted: bool = True) -> Iterator[Bar]:
    """A bar while this is entered; without a terminal, or anything to do, lines only."""
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
    """The text without line ends, nor anything else that a terminal would act upon."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())

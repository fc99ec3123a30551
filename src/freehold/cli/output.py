"""What commands print: JSON or text, examples in their help, and a progress bar on a terminal."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click
import msgspec

JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object per line, for programs.")


def examples(*lines: str) -> str:
    """The epilog of a command's help, which is printed line by line."""
    return "\n  ".join(["\b\nExamples:", *lines])


def echo_json(record: object) -> None:
    """Print one JSON object on one line of stdout, for `--json`."""
    click.echo(msgspec.json.encode(record))


def tell(text: str, facts: object, *, as_json: bool) -> None:
    """Print one JSON object for `--json`, else the text."""
    if as_json:
        echo_json(facts)
    else:
        click.echo(text)


class Bar:
    """A progress bar; this one, for no terminal, shows only lines."""

    def reach(self, done: int) -> None:
        """Show that `done` of the total are done."""

    def advance(self, count: int) -> None:
        """Show that `count` more are done."""

    def say(self, line: str) -> None:
        """Print a line on stderr, above the bar if there is one."""
        click.echo(line, err=True)


@contextmanager
def progress(label: str, total: int | None, *, is_wanted: bool = True) -> Iterator[Bar]:
    """Show a bar inside the `with` block; without a terminal, or with a total of 0, only lines are printed."""
    if not is_wanted or total == 0 or not sys.stderr.isatty():
        yield Bar()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = [TextColumn(label), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
    with Progress(*columns, console=Console(stderr=True)) as shown:
        task = shown.add_task("", total=total)

        class _RichBar(Bar):
            def reach(self, done: int) -> None:
                shown.update(task, completed=done)

            def advance(self, count: int) -> None:
                shown.advance(task, count)

            def say(self, line: str) -> None:
                shown.console.print(line, markup=False, highlight=False, soft_wrap=True)

        yield _RichBar()


def one_line(text: str) -> str:
    """The text without newlines, control characters or anything else a terminal would act upon."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())

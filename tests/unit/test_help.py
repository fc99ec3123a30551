"""Every example in a help text is printed as it was written: one that is reflowed cannot be pasted."""

from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from freehold.cli.main import cli


def commands(command: click.Command = cli, *names: str) -> Iterator[tuple[str, ...]]:
    yield names
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from commands(found, *names, name)


def command_at(names: tuple[str, ...]) -> click.Command:
    command: click.Command = cli
    for name in names:
        assert isinstance(command, click.Group)
        found = command.get_command(click.Context(command), name)
        assert found is not None
        command = found
    return command


@pytest.mark.parametrize("names", list(commands()), ids=" ".join)
def test_examples_are_printed_line_by_line(names: tuple[str, ...]) -> None:
    epilog = command_at(names).epilog or ""
    shown = CliRunner().invoke(cli, [*names, "--help"], prog_name="freehold").stdout
    lines = {line.strip() for line in shown.splitlines()}
    if "\b" not in epilog:
        assert len(epilog.splitlines()) <= 1, "several lines need \\b before them"
        assert " ".join(epilog.split()) in " ".join(shown.split())
        return
    for line in epilog.replace("\b", "").splitlines():
        assert line.strip() in lines or not line.strip(), line

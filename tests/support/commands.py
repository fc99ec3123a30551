"""Every command of `freehold`, by the words that call it."""

from collections.abc import Iterator

import click

from freehold.cli.main import cli


def _below(command: click.Command, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield words, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from _below(inner, (*words, name))


COMMANDS = dict(_below(cli, ("freehold",)))

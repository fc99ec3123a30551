"""A group of commands that are loaded when they are asked for: what some of them need takes long to load."""

import importlib
from collections.abc import Mapping
from typing import Any

import click


class LazyGroup(click.Group):
    """`elsewhere` has the module of each command that is not defined beside the group, where it has its own name."""

    def __init__(self, *args: Any, elsewhere: Mapping[str, str], **more: Any) -> None:
        super().__init__(*args, **more)
        self._elsewhere = elsewhere

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*super().list_commands(ctx), *self._elsewhere]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in self._elsewhere:
            return super().get_command(ctx, name)
        module = importlib.import_module(self._elsewhere[name])
        command: click.Command = getattr(module, name.replace("-", "_"))
        return command

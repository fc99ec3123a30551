"""A group of commands that are imported only when they are called: some have slow imports."""

import importlib
from collections.abc import Mapping
from typing import Any

import click


class LazyGroup(click.Group):
    """`elsewhere` maps each command defined in another module to that module; its function there has the same name."""

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

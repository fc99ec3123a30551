"""The whole twin, ready to be served: engine, catalogue, keys."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from litestar.types import ASGIApp

from freehold.keys import load_or_create_key
from freehold.settings.fields import BadSettings
from freehold.twin.app import create_twin
from freehold.twin.catalogue import Catalogue
from freehold.twin.engine import running_engine
from freehold.twin.faults import Faults
from freehold.twin.hosts import Hosts, Place
from freehold.twin.platform import Platform
from freehold.twin.tokens import DatabaseTokens


@dataclass(frozen=True, slots=True, kw_only=True)
class TwinOptions:
    """Where the twin keeps its data, and how it is reached."""

    folder: Path
    port: int
    sqld: Path
    organization: str
    token: str
    place: Place


@asynccontextmanager
async def open_twin(options: TwinOptions, faults: Faults | None = None) -> AsyncIterator[ASGIApp]:
    """The application, with its sqld running until the end.

    Raises:
        BadSettings, BadKeyFile: the folder cannot be used.
        Unavailable: sqld does not start.
    """
    try:
        await asyncio.to_thread(options.folder.mkdir, mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise BadSettings([f"--data-dir: cannot make `{options.folder}`: {error.strerror}"]) from error
    folder = await asyncio.to_thread(options.folder.resolve)
    key = await asyncio.to_thread(load_or_create_key, folder / "key.pem")
    async with running_engine(options.sqld, folder / "sqld", key) as engine:
        catalogue = await asyncio.to_thread(Catalogue, folder / "catalogue.db")
        try:
            await catalogue.prepare()
            platform = Platform(
                options.organization,
                catalogue,
                engine,
                DatabaseTokens(catalogue, key),
                Hosts(options.organization, options.port, options.place),
            )
            yield create_twin(platform, options.token, faults)
        finally:
            await asyncio.to_thread(catalogue.close)

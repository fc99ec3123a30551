"""Locates and opens the central database, and moves it out of the tenants' sqld, where an older version put it."""

import asyncio
import socket
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import urlsplit

from freehold.central.changes import ChangeFeed, FileChanges
from freehold.central.engine import Central, open_central, open_remote_central
from freehold.central.moving.closing import CentralMoved, require_open
from freehold.central.moving.places import CentralNotMoved, CentralPlace
from freehold.central.upgrade import upgrade_central
from freehold.dates import to_iso, utc_now
from freehold.errors import CentralUnavailable, Conflict, ProviderRefuses, ProviderUnavailable
from freehold.libsql.bearer import Token
from freehold.libsql.errors import LibsqlError
from freehold.log import get_logger
from freehold.settings.fields import BadSettings, Settings
from freehold.wiring.key_files import sqld_key

log = get_logger()

# The former default place of a self-hosted installation's central database.
_OLD_NAMESPACE = "central"
_RESOLVE_S = 2.0


async def open_central_of(settings: Settings, stack: AsyncExitStack, audit_key: bytes) -> tuple[Central, ChangeFeed]:
    """The central database at its newest schema, and the feed of its changes; closed with the stack.

    Raises:
        BadSettings: DATABASE_URL or DATA_DIR cannot be used.
        CentralUnavailable: it does not answer.
    """
    path = settings.central_file
    if path is None:
        place = await central_place(settings)
        try:
            central = open_remote_central(place.url, place.token, audit_key)
        except LibsqlError as error:
            raise BadSettings([f"DATABASE_URL: {error.explanation}"]) from error
        stack.push_async_callback(central.close)
        await _upgrade(central)
        return central, ChangeFeed(central, tells_past=settings.keeps_copies)
    if not await asyncio.to_thread(path.parent.is_dir):
        raise BadSettings([f"DATABASE_URL: there is no folder `{path.parent}`; make it or choose another"])
    if settings.tenant_provider == "sqld" and not await asyncio.to_thread(_holds_something, path):
        await _take_over(settings, path)
    central = open_central(path, audit_key)
    stack.push_async_callback(central.close)
    await _upgrade(central)
    changes = FileChanges(central, path, tells_past=settings.keeps_copies)
    stack.callback(changes.close)
    return central, changes


async def _upgrade(central: Central) -> None:
    try:
        await require_open(central)
    except CentralMoved as error:
        raise BadSettings([f"DATABASE_URL: {error}"]) from error
    await upgrade_central(central)


async def central_place(settings: Settings) -> CentralPlace:
    """Where the central database is according to the settings, with its token.

    Raises:
        BadSettings: its namespace on sqld belongs to something else.
        CentralUnavailable: sqld's admin API does not answer.
    """
    path = settings.central_file
    if path is not None:
        return CentralPlace(f"sqlite:///{path}")
    if (name := settings.central_namespace) is not None:
        return CentralPlace(settings.database_url, await _namespace(settings, name, creates=True))
    return CentralPlace(settings.database_url, settings.database_auth_token.reveal() or None)


async def existing_central_place(settings: Settings) -> CentralPlace | None:
    """The same without creating anything: None if its namespace on the tenants' sqld does not exist.

    Raises:
        CentralUnavailable: sqld's admin API does not answer.
    """
    name = settings.central_namespace
    if name is None:
        return await central_place(settings)
    token = await _namespace(settings, name, creates=False)
    return None if token is None else CentralPlace(settings.database_url, token)


async def warn_of_shared_sqld(settings: Settings) -> None:
    """Warn if tenants' SQL can take the central database down with it, and say how to change that."""
    if settings.tenant_provider != "sqld" or settings.central_file is not None:
        return
    if settings.shares_sqld or await _is_same_address(settings.database_url, settings.sqld_url):
        log.warning(
            "central.shares_sqld",
            reason="DATABASE_URL leads to the sqld that runs tenants' SQL: what brings it down ends sign-in, too",
            hint="stop the service and run `freehold central copy --to sqlite:///…`; see docs/self-hosting.md",
        )


async def _is_same_address(url: str, other: str) -> bool:
    """Whether two URLs lead to the same server, as far as a quick DNS lookup tells."""

    async def addresses(text: str) -> set[object]:
        parts = urlsplit(text)
        port = parts.port or (80 if parts.scheme in {"http", "ws"} else 443)
        found = await asyncio.get_running_loop().getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
        return {address[:2] for *_, address in found}

    try:
        async with asyncio.timeout(_RESOLVE_S):
            return bool(await addresses(url) & await addresses(other))
    except (OSError, TimeoutError, ValueError):
        return False


async def _take_over(settings: Settings, path: Path) -> None:
    """Move an older installation's central database from the tenants' sqld into this new file.

    If that were left to its operator, the service would start with no users at all.
    """
    old = await _old_central(settings, path)
    if old is None:
        return
    from freehold.central.moving.copy import move

    try:
        moved = await move(old, CentralPlace(f"sqlite:///{path}"), to_iso(utc_now()))
    except CentralNotMoved as error:
        raise BadSettings([f"DATABASE_URL: {error}"]) from error
    log.warning(
        "central.moved",
        reason="the central database was on the sqld that runs tenants' SQL, and is in a file of its own now",
        place=moved.place,
        rows=sum(moved.rows.values()),
    )


async def has_old_central(settings: Settings, path: Path) -> bool:
    """Whether opening this file would first move an older installation's central database into it.

    Raises:
        CentralUnavailable: sqld does not answer.
    """
    if await asyncio.to_thread(_holds_something, path):
        return False
    return await _old_central(settings, path) is not None


async def _old_central(settings: Settings, path: Path) -> CentralPlace | None:
    from freehold.central.moving.copy import has_central

    doubt = f"{path} is not there yet, and whether sqld has the central database cannot be told: "
    token = await _namespace(settings, _OLD_NAMESPACE, creates=False, doubt=doubt)
    if token is None:
        return None
    old = CentralPlace(f"{settings.sqld_url}/?namespace={_OLD_NAMESPACE}", token)
    async with old.opened() as target:
        return old if await has_central(target) else None


async def _namespace(settings: Settings, name: str, *, creates: bool, doubt: str = "") -> Token | None:
    """A token for this namespace on the tenants' sqld; without `creates`, None if it does not exist.

    Raises:
        BadSettings: sqld rejects our key, or the namespace belongs to something else.
        CentralUnavailable: sqld does not answer; `doubt` says what cannot be determined then.
    """
    from freehold.providers.sqld.central import find_central_namespace, open_central_namespace

    ask = open_central_namespace if creates else find_central_namespace
    try:
        return await ask(
            settings.sqld_admin_url,
            settings.sqld_admin_key.reveal(),
            await asyncio.to_thread(sqld_key, settings),
            name,
            data_dir=settings.sqld_data_dir,
        )
    except Conflict as error:
        raise BadSettings([f"DATABASE_URL: {error}"]) from error
    except ProviderRefuses as error:
        raise BadSettings([str(error)]) from error
    except ProviderUnavailable as error:
        raise CentralUnavailable(f"{doubt}{error}") from error


def _holds_something(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0

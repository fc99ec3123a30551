"""What the settings choose: where tenants are, the central database, the cache, mails, keys."""

import asyncio
import os
import socket
import ssl
from contextlib import AsyncExitStack
from email.utils import parseaddr
from pathlib import Path
from urllib.parse import urlsplit

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from freehold.auth.passwords.rules import BreachedPasswords, PasswordRules, words_of_service
from freehold.auth.ports import Mailer
from freehold.breaches.service import BreachFiles, open_breach_service
from freehold.cache.redis import RedisLink
from freehold.central.changes import ChangeFeed, FileChanges
from freehold.central.engine import Central, open_central, open_remote_central
from freehold.central.moving.closing import CentralMoved, require_open
from freehold.central.moving.copy import has_central, move
from freehold.central.moving.places import CentralNotMoved, CentralPlace
from freehold.central.upgrade import upgrade_central
from freehold.dates import to_iso, utc_now
from freehold.errors import CentralUnavailable, Conflict, ProviderRefuses, ProviderUnavailable
from freehold.keys import BadKeyFile, load_key, load_or_create_key
from freehold.libsql.bearer import Token
from freehold.libsql.errors import LibsqlError
from freehold.mail.outbox import Outbox
from freehold.mail.smtp import SmtpMailer, SmtpServer
from freehold.providers.as_client import through_gateway, with_tokens
from freehold.providers.local.provider import LocalProvider
from freehold.providers.published import Published
from freehold.providers.sqld.central import find_central_namespace, open_central_namespace
from freehold.providers.sqld.provider import SqldProvider
from freehold.providers.turso.provider import TursoProvider
from freehold.settings import BadSettings, Settings
from freehold.tenants.operator_sql import RunAsClient
from freehold.tenants.snapshots import Snapshots

log = structlog.get_logger()

# Where the central database of a self-hosted installation was by default.
_OLD_NAMESPACE = "central"
_RESOLVE_S = 2.0


def open_mailer(settings: Settings) -> Mailer:
    """SMTP, or a file in DATA_DIR for whoever has none. Blocks: it looks into certificates."""
    app = parseaddr(settings.mail_from)[0] or urlsplit(settings.public_url).hostname or "Freehold"
    if not settings.smtp_url:
        return Outbox(settings.data_dir / "outbox.jsonl", app)
    server = SmtpServer.from_url(settings.smtp_url.reveal())
    return SmtpMailer(server, settings.mail_from, app, ssl.create_default_context())


async def open_password_rules(settings: Settings, stack: AsyncExitStack) -> PasswordRules:
    """What new passwords may be. Raises `BadSettings` if there is nothing at PASSWORD_BREACH_PATH."""
    sender = parseaddr(settings.mail_from)[0]
    words = words_of_service(settings.public_url, sender, *settings.password_words)
    breached: BreachedPasswords | None = None
    if settings.password_breach_path is not None:
        path = settings.password_breach_path
        if not await asyncio.to_thread(path.exists):
            raise BadSettings([f"PASSWORD_BREACH_PATH: there is no file or folder `{path}`"])
        breached = BreachFiles(path)
    elif settings.password_breach_url:
        breached = await stack.enter_async_context(open_breach_service(settings.password_breach_url))
    return PasswordRules(words, breached)


async def open_provider(
    settings: Settings,
    stack: AsyncExitStack,
    snapshots: Snapshots,
    published: Published,
    *,
    creates: bool = True,
) -> LocalProvider | SqldProvider | TursoProvider:
    """Where the tenants are; closed with the stack. `creates` says whether a key may be made for their tokens.

    Raises:
        BadSettings: a key file cannot be used.
    """
    provider: LocalProvider | SqldProvider | TursoProvider
    if settings.tenant_provider == "sqld":
        provider = SqldProvider(
            settings.sqld_url,
            settings.sqld_admin_url,
            settings.sqld_admin_key.reveal(),
            await asyncio.to_thread(_sqld_key, settings),
            settings.public_url,
            token_ttl_s=settings.tenant_token_ttl_s,
            max_size_bytes=settings.tenant_max_size_mb * 1_000_000,
            query_timeout_s=settings.tenant_query_timeout_s,
            transaction_timeout_s=settings.tenant_transaction_timeout_s,
            cores=settings.sqld_cores,
            supervisor_url=settings.sqld_supervisor_url,
            data_dir=settings.sqld_data_dir,
            most=settings.database_token_profile,
            published=published,
        )
    elif settings.tenant_provider == "turso":
        provider = TursoProvider(
            settings.turso_api_url,
            settings.turso_api_token.reveal(),
            settings.turso_organization,
            settings.turso_group,
            token_ttl_s=settings.tenant_token_ttl_s,
            max_size_mb=settings.tenant_max_size_mb,
            most=settings.database_token_profile,
        )
    else:
        provider = LocalProvider(
            settings.data_dir,
            settings.public_url,
            await asyncio.to_thread(_tokens_key, settings, creates=creates),
            token_ttl_s=settings.tenant_token_ttl_s,
            max_size_bytes=settings.tenant_max_size_mb * 1_000_000,
            query_timeout_s=settings.tenant_query_timeout_s,
            transaction_timeout_s=settings.tenant_transaction_timeout_s,
            snapshot=snapshots.get,
            most=settings.database_token_profile,
            published=published,
        )
    stack.push_async_callback(provider.aclose)
    return provider


def client_door(provider: LocalProvider | SqldProvider | TursoProvider, subject: str) -> RunAsClient:
    """What runs SQL in tenants' databases as clients' is run; `subject` is who asks."""
    if isinstance(provider, TursoProvider):
        return with_tokens(provider.open_as_client)
    return through_gateway(provider.server, subject)


async def open_central_of(
    settings: Settings, stack: AsyncExitStack, audit_key: bytes
) -> tuple[Central, ChangeFeed]:
    """The central database at its newest schema, and what tells of its changes; closed with the stack.

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
    await asyncio.to_thread(_require_folder, path)
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
    """Where the settings say that the central database is, with its token.

    Raises:
        BadSettings: the namespace for it on sqld is somebody else's.
        CentralUnavailable: sqld's admin API does not answer.
    """
    path = settings.central_file
    if path is not None:
        return CentralPlace(f"sqlite:///{path}")
    return CentralPlace(settings.database_url, await _central_token(settings))


async def existing_central_place(settings: Settings) -> CentralPlace | None:
    """The same for whoever makes nothing: None if it is to be in a namespace on the tenants' sqld that is not there.

    Raises:
        CentralUnavailable: sqld's admin API does not answer.
    """
    name = settings.central_namespace
    if name is None:
        return await central_place(settings)
    token = await _existing_namespace(settings, name)
    return None if token is None else CentralPlace(settings.database_url, token)


async def warn_of_shared_sqld(settings: Settings) -> None:
    """Say in the log that tenants' SQL can take the central database down with it, and how to change that."""
    if settings.tenant_provider != "sqld" or settings.central_file is not None:
        return
    if settings.shares_sqld or await _is_same_address(settings.database_url, settings.sqld_url):
        log.warning(
            "central.shares_sqld",
            reason="DATABASE_URL leads to the sqld that runs tenants' SQL: what brings it down ends sign-in, too",
            hint="stop the service and run `freehold central copy --to sqlite:///…`; see docs/self-hosting.md",
        )


async def _is_same_address(url: str, other: str) -> bool:
    """Whether two names are one server's, as far as that can be told in a moment."""

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
    """Move the central database of an older installation, which had it on the tenants' sqld, into this new file.

    Were that left to its operator, a service with settings of today would start with no users at all.
    """
    old = await _old_central(settings, path)
    if old is None:
        return
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
    """Whether whoever opens this file first moves an older installation's central database into it.

    Raises:
        CentralUnavailable: sqld does not answer.
    """
    if await asyncio.to_thread(_holds_something, path):
        return False
    return await _old_central(settings, path) is not None


async def _old_central(settings: Settings, path: Path) -> CentralPlace | None:
    doubt = f"{path} is not there yet, and whether sqld has the central database cannot be told: "
    token = await _existing_namespace(settings, _OLD_NAMESPACE, doubt=doubt)
    if token is None:
        return None
    old = CentralPlace(f"{settings.sqld_url}/?namespace={_OLD_NAMESPACE}", token)
    async with old.opened() as target:
        return old if await has_central(target) else None


def open_cache(settings: Settings, stack: AsyncExitStack) -> RedisLink | None:
    """Redis, if there is one; closed with the stack."""
    if not settings.cache_url:
        return None
    link = RedisLink(settings.cache_url, settings.cache_token)
    stack.push_async_callback(link.close)
    return link


def registry_key(settings: Settings, keys: Path, *, creates: bool = True) -> Ed25519PrivateKey | None:
    """What signs the registry; None where that is done elsewhere, or where there is no key to be found. Blocks.

    Raises:
        BadSettings: REGISTRY_SIGNING_KEY_FILE cannot be used.
    """
    if settings.registry_signing == "elsewhere":
        return None
    if settings.registry_signing_key_file is None:
        path = keys / "registry.pem"
        return load_or_create_key(path) if creates or path.exists() else None
    try:
        return load_key(settings.registry_signing_key_file)
    except BadKeyFile as error:
        raise BadSettings([f"REGISTRY_SIGNING_KEY_FILE: {error}"]) from error


def make_folder(keys: Path) -> None:
    """DATA_DIR with its folder for keys, for nobody else to look into. Blocks.

    Raises:
        BadSettings: it cannot be made, or what is there may not be read and written.
    """
    try:
        keys.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # users and hashes are in there too
        keys.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise BadSettings(
            [f"DATA_DIR: cannot make the folder `{keys}` ({reason}); {_what_to_do(keys, error)}"]
        ) from error
    require_access(keys)


def require_access(keys: Path) -> None:
    """Return if what is there of DATA_DIR may be read and written. Blocks. Raises `BadSettings`.

    SQLite would say no more than that it cannot open its file.
    """
    if not os.path.exists(keys.parent):  # noqa: PTH110 - unlike Path.exists, it never raises
        return
    for each in (keys.parent, keys, *sorted(keys.parent.glob("central.db*"))):
        if os.path.exists(each) and not os.access(  # noqa: PTH110
            each, os.R_OK | os.W_OK | (os.X_OK if each.is_dir() else 0)
        ):
            what = _what_to_do(each, PermissionError())
            raise BadSettings([f"DATA_DIR: `{each}` cannot be read and written; {what}"])


def _what_to_do(wanted: Path, error: OSError) -> str:
    """Whose folder it is that we may not write into: a volume made by root, mostly, or the service's."""
    if not isinstance(error, PermissionError) or not hasattr(os, "geteuid"):
        return "choose another"
    # Unlike Path.exists, it is False for what may not be looked at.
    places = (wanted.absolute(), *wanted.absolute().parents)
    place = next(each for each in places if os.path.exists(each))  # noqa: PTH110
    user, owner = os.geteuid(), place.stat().st_uid
    if user == owner:
        return f"let its owner with `chmod -R u+rwX {place}`, or choose another that is not mounted read-only"
    everything = "-R " if place == wanted.absolute() else ""  # an empty volume has nothing in it yet
    return (
        f"`{place}` belongs to user {owner}, and this runs as {user}: run it as that user, as the service runs,"
        f" hand it over with `chown {everything}{user} {place}`, or choose another"
    )


async def _existing_namespace(settings: Settings, name: str, *, doubt: str = "") -> Token | None:
    """A token for this namespace on the tenants' sqld, or None if it is not there.

    Raises:
        BadSettings: sqld does not take our key.
        CentralUnavailable: it does not answer; `doubt` says what cannot be told then.
    """
    try:
        return await find_central_namespace(
            settings.sqld_admin_url,
            settings.sqld_admin_key.reveal(),
            await asyncio.to_thread(_sqld_key, settings),
            name,
            data_dir=settings.sqld_data_dir,
        )
    except ProviderRefuses as error:
        raise BadSettings([str(error)]) from error
    except ProviderUnavailable as error:
        raise CentralUnavailable(f"{doubt}{error}") from error


async def _central_token(settings: Settings) -> Token:
    name = settings.central_namespace
    if name is None:
        return settings.database_auth_token.reveal() or None
    try:
        return await open_central_namespace(
            settings.sqld_admin_url,
            settings.sqld_admin_key.reveal(),
            await asyncio.to_thread(_sqld_key, settings),
            name,
            data_dir=settings.sqld_data_dir,
        )
    except Conflict as error:
        raise BadSettings([f"DATABASE_URL: {error}"]) from error
    except ProviderRefuses as error:
        raise BadSettings([str(error)]) from error
    except ProviderUnavailable as error:
        raise CentralUnavailable(str(error)) from error


def _holds_something(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def _require_folder(database: Path) -> None:
    if not database.parent.is_dir():
        raise BadSettings(
            [f"DATABASE_URL: there is no folder `{database.parent}`; make it or choose another"]
        )


def _tokens_key(settings: Settings, *, creates: bool) -> Ed25519PrivateKey:
    path = settings.data_dir / "keys" / "database-tokens.pem"
    # Whoever makes nothing gives no token to anybody either.
    return load_or_create_key(path) if creates or path.exists() else Ed25519PrivateKey.generate()


def _sqld_key(settings: Settings) -> Ed25519PrivateKey:
    assert settings.sqld_jwt_key_file is not None  # the settings were checked
    try:
        return load_key(settings.sqld_jwt_key_file)
    except BadKeyFile as error:
        raise BadSettings([f"SQLD_JWT_KEY_FILE: {error}"]) from error

"""Settings in, services out: the only place that chooses adapters. Plain constructor calls, top to bottom."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

import structlog

from freehold.audit.chain import seal_key
from freehold.audit.service import Audit
from freehold.auth.api_keys.service import ApiKeys
from freehold.auth.email.addresses import EmailAddresses
from freehold.auth.email.code_sign_in import CodeSignIn
from freehold.auth.email.codes import Codes
from freehold.auth.email.links import Links
from freehold.auth.email.notices import Notices
from freehold.auth.email.password_resets import PasswordResets
from freehold.auth.email_services import EmailServices
from freehold.auth.importing.service import MovingIn
from freehold.auth.lockout import Lockout
from freehold.auth.origins import TrustedOrigins
from freehold.auth.passwords.passwords import ScryptHasher
from freehold.auth.places import KnownPlaces
from freehold.auth.ports import Mailer
from freehold.auth.recognition import Recognition
from freehold.auth.service import Auth
from freehold.auth.sessions.cookies import SessionCookies
from freehold.auth.sessions.copies import CopyCodec
from freehold.auth.sessions.session_data import SessionData
from freehold.auth.sessions.sessions import Sessions
from freehold.auth.social.attempts import Secrets
from freehold.auth.social.service import Social
from freehold.auth.tokens.issuers import Issuers
from freehold.auth.tokens.jwts import Jwts
from freehold.auth.tokens.references import References
from freehold.auth.tokens.refresh import TokenPairs
from freehold.auth.tokens.signing_keys import MAX_AGE, SigningKeys
from freehold.auth.users.accounts import Accounts
from freehold.auth.users.admin import UserAdmin
from freehold.auth.users.departed_guests import DepartedGuests
from freehold.auth.users.guests import Guests
from freehold.cache.memory_limiter import MemoryLimiter
from freehold.cache.redis import RedisLink
from freehold.cache.redis_limiter import RedisLimiter
from freehold.cache.sessions import RedisSessions
from freehold.central.audit_store import CentralAudit
from freehold.central.auth.accounts import CentralAccounts, CentralOwnSessions
from freehold.central.auth.administration import SqlAdminStore
from freehold.central.auth.api_keys import SqlApiKeys
from freehold.central.auth.guests import CentralDepartedGuests, CentralGuestLinks
from freehold.central.auth.newcomers import SqlNewcomers
from freehold.central.auth.pending import CentralPending
from freehold.central.auth.references import CentralReferences
from freehold.central.auth.refresh_tokens import SqlRefreshTokens
from freehold.central.auth.signing_keys import SqlSigningKeys
from freehold.central.auth.social import CentralAttempts, CentralSocialAccounts
from freehold.central.auth.users import SqlUserStore
from freehold.central.auth.wrong_passwords import CentralWrongPasswords
from freehold.central.engine import Central
from freehold.central.registry.census import CentralCensus
from freehold.central.registry.store import CentralRegistry
from freehold.central.rollouts.restore_points import CentralRestorePoints
from freehold.central.rollouts.store import CentralRollouts
from freehold.central.rollouts.workers import CentralWorkers
from freehold.central.tenants.catalogue import CentralCatalogue
from freehold.central.tenants.duties import CentralDuties
from freehold.central.tenants.life import CentralLife
from freehold.central.tenants.pool import CentralPool
from freehold.central.tenants.rotations import CentralRotations
from freehold.central.tenants.store import CentralTenants
from freehold.changes import Changes
from freehold.clock import SystemClock
from freehold.identity.open import open_providers
from freehold.keys import load_or_create_secret
from freehold.limiting import Limiter, RateLimited, hit_from
from freehold.providers.serving import DatabaseServer, ReplicaServer
from freehold.providers.sqlite.file_target import open_file
from freehold.providers.sqlite.scratch import local_scratch
from freehold.providers.tokens import TokenVerifier
from freehold.registry.cache import SnapshotCache
from freehold.registry.census import ContractTooEarly, Reports
from freehold.registry.files import load_folder
from freehold.registry.folder_config import load_parts
from freehold.registry.service import Registry
from freehold.registry.signed import signer_of
from freehold.registry.taken_down import Credential, place_key
from freehold.registry.types import PublishReport
from freehold.rollouts.rehearsal import Copies
from freehold.rollouts.restoring import Restoring
from freehold.rollouts.service import Rollouts
from freehold.settings import Settings
from freehold.tenants.backup import BackupCheck
from freehold.tenants.caretaker import Caretaker
from freehold.tenants.drift import DriftCheck
from freehold.tenants.guests import GuestDatabases
from freehold.tenants.life import Life
from freehold.tenants.operator_sql import OperatorSql
from freehold.tenants.pool import Pool
from freehold.tenants.ports import DatabaseProvider
from freehold.tenants.provisioner import Provisioner
from freehold.tenants.reconcile import Reconciler
from freehold.tenants.repair import Repair
from freehold.tenants.rotations import Rotations
from freehold.tenants.service import Tenants
from freehold.tenants.snapshots import Snapshots
from freehold.wiring.adapters import (
    client_door,
    make_folder,
    open_cache,
    open_central_of,
    open_mailer,
    open_password_rules,
    open_provider,
    registry_key,
    require_access,
)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """All that the edge may call.

    `damaged` tells the databases that are known not to open; `repair` is None where it is not done on this machine.
    `server`, `verifier` and `replicas` are what the gateway is made of; None where clients go to the provider.
    """

    settings: Settings
    central: Central
    audit: Audit
    auth: Auth
    user_admin: UserAdmin
    moving_in: MovingIn
    references: References
    session_data: SessionData | None
    cache: RedisLink | None
    limiter: Limiter
    guests: Guests
    social: Social
    issuers: Issuers
    email: EmailServices
    registry: Registry
    reports: Reports
    drift: DriftCheck
    damaged: Callable[[], Mapping[str, str]]
    repair: Repair | None
    provider: DatabaseProvider
    tenants: Tenants
    rotations: Rotations
    guest_databases: GuestDatabases
    provisioner: Provisioner
    pool: Pool | None
    caretaker: Caretaker
    life: Life
    operator_sql: OperatorSql
    reconciler: Reconciler
    rollouts: Rollouts
    server: DatabaseServer | None
    verifier: TokenVerifier | None
    replicas: ReplicaServer | None

    async def publish_registry(self) -> PublishReport | None:
        """Publish the files of SCHEMA_REGISTRY, as the embedded mode does when it starts.

        Where the key is elsewhere so are the files: what was signed there is published, and nothing here.
        A contract migration that older apps stand against waits, with those after it: they need the service. So do
        the release's parts, which may speak of them.

        Raises:
            BadRegistry, PublishedMigrationChanged: the files are not fit to be served.
        """
        if self.registry.signer is None:
            return None
        migrations = await load_folder(self.settings.schema_registry)
        try:
            report = await self.registry.publish(
                migrations, parts=await load_parts(self.settings.schema_registry)
            )
        except ContractTooEarly as error:
            log.warning("registry.contract_waits", version=error.version, reason=str(error))
            report = await self.registry.publish(migrations[: error.version - 1])
        await self.registry.renew()
        return report


@asynccontextmanager
async def open_services(settings: Settings, *, creates: bool = True) -> AsyncIterator[Services]:
    """The services for these settings, with the central database at its newest schema; closed at the end.

    Without `creates` neither DATA_DIR nor a key that signs is made: the installation is known to be there.

    Raises:
        BadSettings, BadKeyFile: DATA_DIR or a key file cannot be used.
        CentralUnavailable: the central database does not answer.
    """
    async with AsyncExitStack() as stack:
        keys = settings.data_dir / "keys"
        await asyncio.to_thread(make_folder if creates else require_access, keys)
        secret = settings.better_auth_secret.reveal() or await asyncio.to_thread(
            load_or_create_secret, keys / "auth-secret"
        )
        signing_key = await asyncio.to_thread(registry_key, settings, keys, creates=creates)

        central, changes = await open_central_of(settings, stack, seal_key(secret))
        audit = Audit(CentralAudit(central))
        cache = open_cache(settings, stack)
        shared = None if cache is None else RedisSessions(cache, CopyCodec(secret))
        if shared is not None:
            stack.push_async_callback(shared.close)
        limiter = MemoryLimiter() if cache is None else RedisLimiter(cache, MemoryLimiter())

        async def who(shown: Credential) -> str | None:
            return await recognition.user_id(shown.kind, shown.text)

        registry_store = CentralRegistry(central)
        reports = Reports(CentralCensus(central), who=who, place_key=place_key(secret))
        registry = Registry(
            registry_store,
            SnapshotCache(registry_store, changes),
            signer_of(signing_key) if signing_key else None,
            lifetime_days=settings.registry_signature_days,
            reports=reports,
            scratch=local_scratch,
        )

        async def newest_version() -> int:
            return (await registry.snapshot()).version

        # The scratch database is not the tenants' own engine elsewhere: a snapshot is tried there first.
        snapshots = Snapshots(registry.snapshot, local_scratch, prove=settings.tenant_provider != "local")
        provider = await open_provider(settings, stack, snapshots, snapshots.history, creates=creates)
        tenant_store = CentralTenants(central)
        pool = None
        if settings.tenant_pool_size:
            pool = Pool(
                size=settings.tenant_pool_size,
                store=CentralPool(central),
                provider=provider,
                bring_up_to_date=snapshots.bring_up_to_date,
                snapshot=snapshots.get,
                clock=SystemClock(),
            )
        provisioner = Provisioner(
            tenant_store, provider, snapshots.bring_up_to_date, take_waiting=pool.take if pool else None
        )

        users = SqlUserStore(central, provider.name)
        hasher = ScryptHasher()
        stack.callback(hasher.close)
        cookies = SessionCookies(secret, settings.public_url)
        strategy = settings.session_cookie_cache
        session_data = None if strategy == "off" else SessionData(secret, cookies, strategy)
        mailer = await asyncio.to_thread(open_mailer, settings)
        addresses = email_addresses(central, mailer, secret, settings)
        auth = Auth(
            store=users,
            hasher=hasher,
            sessions=Sessions(
                users,
                changes,
                shared=shared,
                has_cookie_cache=session_data is not None,
                max_age=timedelta(days=settings.session_max_days),
            ),
            cookies=cookies,
            origins=TrustedOrigins(settings.public_url, [*settings.own_origins, *settings.trusted_origins]),
            on_user_created=provisioner.wake,
            lockout=Lockout(CentralWrongPasswords(central), secret),
            places=addresses.codes.places,
            rules=await open_password_rules(settings, stack),
            fresh_age=timedelta(seconds=settings.session_fresh_s),
            admit=_admission(limiter, settings),
            audit=audit,
            verification=addresses if settings.email_verification == "required" else None,
        )
        issuers = open_issuers(
            central,
            changes,
            auth.sessions,
            secret,
            settings.public_url,
            signing_key_max_age=timedelta(days=settings.jwt_key_days),
        )
        recognition = Recognition(auth.sessions, issuers.pairs, issuers.api_keys)
        rotations = Rotations(CentralRotations(central), provider, changes)
        drift = DriftCheck(provider, registry.migrations, local_scratch)
        tenants = Tenants(tenant_store, provider, generation=rotations.generation, emails=tenant_store.emails)
        rollout_store = CentralRollouts(central)
        copies = Copies(CentralLife(central), provider, SystemClock())
        departed = DepartedGuests(CentralDepartedGuests(central), days=settings.guest_days)

        async def housekeeping() -> None:
            if pool is not None:
                await pool.refill()
            await departed.sweep()

        caretaker = Caretaker(CentralDuties(central), provider, also=housekeeping)
        life = Life(
            store=CentralLife(central),
            provider=provider,
            bring_up_to_date=snapshots.bring_up_to_date,
            published=registry.snapshot,
            caretaker=caretaker,
            backups=BackupCheck(local_scratch),
            open_file=open_file,
        )
        yield Services(
            settings=settings,
            central=central,
            audit=audit,
            auth=auth,
            moving_in=MovingIn(SqlNewcomers(central, provider.name)),
            user_admin=UserAdmin(auth, SqlAdminStore(central, users), addresses.notices),
            references=References(
                CentralReferences(central, timedelta(days=settings.session_max_days)), changes
            ),
            session_data=session_data,
            cache=cache,
            limiter=limiter,
            guests=Guests(auth, users),
            social=Social(
                auth=auth,
                providers=await stack.enter_async_context(open_providers(settings)),
                attempts=CentralAttempts(central),
                accounts=CentralSocialAccounts(central),
                secrets=Secrets(secret.encode()),
                base_url=f"{settings.public_url}/api/auth",
            ),
            issuers=issuers,
            email=email_services(auth, central, addresses),
            registry=registry,
            reports=reports,
            drift=drift,
            damaged=provider.damaged,
            repair=None
            if provider.files is None
            else Repair(
                provider=provider,
                files=provider.files,
                open_file=open_file,
                check=drift.one,
                record=audit.record,
            ),
            provider=provider,
            tenants=tenants,
            rotations=rotations,
            guest_databases=GuestDatabases(CentralGuestLinks(central), tenants),
            provisioner=provisioner,
            pool=pool,
            caretaker=caretaker,
            life=life,
            operator_sql=OperatorSql(life, client_door(provider, "operator"), drift.one, audit.record),
            reconciler=Reconciler(
                catalogue=CentralCatalogue(central),
                provider=provider,
                bring_up_to_date=snapshots.bring_up_to_date,
                drain=provisioner.drain,
                caretaker=caretaker,
                newest=newest_version,
                clock=SystemClock(),
                central_names=settings.central_names,
            ),
            rollouts=Rollouts(
                store=rollout_store,
                workers=CentralWorkers(central),
                restoring=Restoring(
                    rollouts=rollout_store,
                    points=CentralRestorePoints(central),
                    copies=copies,
                    life=CentralLife(central),
                    provider=provider,
                ),
                provider=provider,
                published=registry.snapshot,
                copies=copies,
                drift=drift,
            ),
            server=provider.server,
            verifier=provider.verifier,
            replicas=provider.replicas,
        )


def _admission(limiter: Limiter, settings: Settings) -> Callable[[str], Awaitable[None]] | None:
    """What counts the databases that are made from one address."""
    rate = settings.rate_limit_new_databases
    if settings.rate_limits == "off" or rate.is_off:
        return None

    async def admit(source: str) -> None:
        verdict = await hit_from(limiter, source, "new-database", rate)
        if not verdict.is_allowed:
            raise RateLimited(verdict.reset_s)

    return admit


def open_issuers(
    central: Central,
    changes: Changes,
    sessions: Sessions,
    secret: str,
    public_url: str,
    *,
    signing_key_max_age: timedelta = MAX_AGE,
) -> Issuers:
    """What issues tokens, on an open central database."""
    signing_keys = SigningKeys(SqlSigningKeys(central), changes, secret, max_age=signing_key_max_age)
    jwts = Jwts(signing_keys, public_url)
    pairs = TokenPairs(SqlRefreshTokens(central), sessions, jwts, secret)
    return Issuers(signing_keys=signing_keys, jwts=jwts, pairs=pairs, api_keys=ApiKeys(SqlApiKeys(central)))


def email_addresses(central: Central, mailer: Mailer, secret: str, settings: Settings) -> EmailAddresses:
    """Codes and links in mails, and what they say of an address."""
    pending, rate = CentralPending(central), settings.rate_limit_codes
    places = KnownPlaces(CentralWrongPasswords(central), secret)
    return EmailAddresses(
        store=CentralAccounts(central),
        codes=Codes(pending, mailer, places, secret, rate),
        links=Links(pending, mailer, places, rate),
        notices=Notices(pending, mailer, places, rate),
        secret=secret,
        base_url=f"{settings.public_url}/api/auth",
    )


def email_services(auth: Auth, central: Central, addresses: EmailAddresses) -> EmailServices:
    """All that works by e-mail address and password."""
    store, codes, links, base_url = addresses.store, addresses.codes, addresses.links, addresses.base_url
    return EmailServices(
        accounts=Accounts(
            auth,
            store,
            CentralOwnSessions(central),
            links,
            addresses.notices,
            addresses.secret,
            base_url,
        ),
        codes=codes,
        code_sign_in=CodeSignIn(auth, store, codes),
        email_addresses=addresses,
        password_resets=PasswordResets(
            store, auth.hasher, auth.rules, codes, links, addresses.notices, addresses.secret, base_url
        ),
    )

"""All settings, each with its variable, its limits and its purpose."""

import os
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl, urlsplit

import msgspec
from msgspec import Meta

from freehold.errors import FreeholdError
from freehold.limiting import Rate
from freehold.settings.servers import SERVERS, same_server


class Secret(str):
    """A string that prints as `***`; `.reveal()` returns the text."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "***" if len(self) else "''"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)

    def reveal(self) -> str:
        return str.__str__(self)


class BadSettings(FreeholdError):
    """Variables are missing or wrong, one line each."""

    code = "bad_settings"
    remedy = "Set what each line names; exit code 3."
    where = "cli"

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


def _about(text: str, **limits: Any) -> Meta:
    return Meta(description=text, **limits)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All configuration. Field `port` is the variable `PORT`."""

    host: Annotated[str, _about("Address to listen on.", min_length=1)] = "127.0.0.1"
    port: Annotated[int, _about("Port to listen on; 0 picks a free one.", ge=0, le=65535)] = 8000
    data_dir: Annotated[Path, _about("All that the embedded mode writes.")] = Path("data")
    database_url: Annotated[
        str, _about("Central database: a `sqlite:///` file or a libSQL server; a file in DATA_DIR when unset.")
    ] = ""
    database_auth_token: Annotated[Secret, _about("Token of a central database on a server.")] = Secret("")
    tenant_provider: Annotated[
        Literal["local", "sqld", "turso"], _about("Where tenant databases live: files here, a libSQL server, or Turso.")
    ] = "local"
    sqld_url: Annotated[str, _about("sqld's user port, reachable from here only, e.g. http://127.0.0.1:8080.")] = ""
    sqld_admin_url: Annotated[str, _about("sqld's admin port, e.g. http://127.0.0.1:9090.")] = ""
    sqld_admin_key: Annotated[Secret, _about("The value of sqld's --admin-auth-key.")] = Secret("")
    sqld_jwt_key_file: Annotated[
        Path | None, _about("Ed25519 private key (PEM): signs database tokens, and all namespaces' keys come from it.")
    ] = None
    sqld_data_dir: Annotated[
        Path | None, _about("sqld's folder, if it is on this machine: lets `tenants reconcile` find orphans.")
    ] = None
    sqld_supervisor_url: Annotated[
        str, _about("Where `freehold sqld` reports on its sqld, e.g. http://127.0.0.1:9091.")
    ] = ""
    sqld_cores: Annotated[
        int,
        _about(
            "Cores that sqld has: this many statements run at once; 0 for the cores of this machine.", ge=0, le=1024
        ),
    ] = 0
    sqld_memory_mb: Annotated[
        int, _about("Memory of SQLite in a sqld that Freehold starts, in MB.", ge=128, le=1_000_000)
    ] = 1024
    turso_api_token: Annotated[Secret, _about("Platform token of Turso, from `turso auth api-tokens mint`.")] = Secret(
        ""
    )
    turso_organization: Annotated[str, _about("Slug of the organization on Turso.")] = ""
    turso_group: Annotated[str, _about("Group that tenant databases are made in; it must exist.", min_length=1)] = (
        "default"
    )
    turso_api_url: Annotated[str, _about("Turso's Platform API, or its local twin: `freehold dev turso`.")] = (
        "https://api.turso.tech"
    )
    tenant_max_size_mb: Annotated[int, _about("Limit on one tenant database, in MB.", ge=1, le=1_000_000)] = 512
    tenant_pool_size: Annotated[
        int, _about("Databases kept ready for new users; 0 creates each when it is needed.", ge=0, le=1000)
    ] = 0
    engines: Annotated[
        int,
        _about(
            "Processes that run tenants' SQL on files, one for each core and 4 at most when unset; 0 runs it in the"
            " service's own.",
            ge=0,
            le=64,
        ),
    ] = min(os.cpu_count() or 1, 4) if hasattr(os, "fork") else 0
    http_workers: Annotated[
        int, _about("Processes that serve HTTP; several share their limits through Redis.", ge=1, le=64)
    ] = 1
    tenant_query_timeout_s: Annotated[
        float, _about("Limit on one statement of a tenant, in seconds.", gt=0, le=600)
    ] = 5.0
    tenant_transaction_timeout_s: Annotated[
        float, _about("Limit on one transaction of a tenant, also a reading one, in seconds.", gt=0, le=600)
    ] = 30.0
    tenant_token_ttl_s: Annotated[int, _about("Life of a database token, in seconds.", ge=60, le=86400)] = 900
    database_token_profile: Annotated[
        Literal["none", "read_only", "rows", "full"],
        _about("The most that a database token may do: `rows` leaves the schema to the registry."),
    ] = "rows"  # noqa: S105
    schema_registry: Annotated[Path, _about("Folder of the migrations to serve.")] = Path("schema_registry/bahar")
    registry_signing_key_file: Annotated[
        Path | None, _about("Ed25519 private key (PEM) that signs the registry; made in DATA_DIR when unset.")
    ] = None
    registry_signing: Annotated[
        Literal["local", "external"],
        _about(
            "`external`: no key here; what `freehold registry sign` signed is published.",
            extra={"earlier": {"here": "local", "elsewhere": "external"}},
        ),
    ] = "local"
    registry_token: Annotated[
        Secret, _about("API key with the scope `registry:publish`, for `freehold registry publish --to`.")
    ] = Secret("")
    registry_signature_days: Annotated[
        int, _about("Life of the registry's signature, renewed at half of it, in days.", ge=1, le=3650)
    ] = 30
    better_auth_secret: Annotated[
        Secret, _about("Signs session cookies, 32 characters or more; made in DATA_DIR when unset.")
    ] = Secret("")
    jwt_key_days: Annotated[
        int, _about("Age at which the key that signs JWTs is replaced, in days.", ge=1, le=3650)
    ] = 90
    better_auth_url: Annotated[
        str, _about("Public origin, e.g. https://auth.example.com; http://HOST:PORT when unset.")
    ] = ""
    trusted_origins: Annotated[tuple[str, ...], _about("Origins of front ends, separated by commas.")] = ()
    trusted_proxies: Annotated[
        tuple[str, ...], _about("Addresses whose X-Forwarded-For is trusted, separated by commas.")
    ] = ()
    session_max_days: Annotated[
        int, _about("Age at which a session ends however much it is used, in days.", ge=1, le=3650)
    ] = 365
    session_fresh_s: Annotated[
        int,
        _about(
            "Age up to which a sign-in is recent enough for serious changes, in seconds; 0: any.", ge=0, le=31_536_000
        ),
    ] = 86_400
    session_cookie_cache: Annotated[
        Literal["off", "compact", "jwt"],
        _about("better-auth's cookie cache, for front ends that read sessions from the cookie."),
    ] = "off"
    rate_limits: Annotated[Literal["on", "off"], _about("`off` for benchmarks, and behind a limiter of your own.")] = (
        "on"
    )
    rate_limit_auth: Annotated[Rate, _about("/api/auth, each path and client address: NUMBER/SECONDS, or `off`.")] = (
        Rate(100, 10)
    )
    rate_limit_sign_in: Annotated[
        Rate, _about("The same for signing in and up, and changing the password or address.")
    ] = Rate(3, 10)
    rate_limit_mail: Annotated[Rate, _about("The same for sending mail or checking a code.")] = Rate(3, 60)
    rate_limit_codes: Annotated[
        Rate, _about("Codes sent to one e-mail address for one place; also with RATE_LIMITS off.")
    ] = Rate(3, 3600)
    rate_limit_api: Annotated[Rate, _about("The API, for one user.")] = Rate(100, 60)
    rate_limit_api_address: Annotated[Rate, _about("The API, for one client address.")] = Rate(1000, 60)
    rate_limit_databases: Annotated[Rate, _about("/db/, for one client address.")] = Rate(0, 0)
    rate_limit_new_databases: Annotated[
        Rate, _about("Users and guests made from one client address, each with a database.")
    ] = Rate(100, 3600)
    guest_days: Annotated[
        int,
        _about(
            "Delete guests who have not come back for this many days, with their database; 0 keeps them.", ge=0, le=3650
        ),
    ] = 30
    upstash_redis_rest_url: Annotated[
        str, _about("Redis over Upstash's REST API: sessions and rate limits for all processes.")
    ] = ""
    upstash_redis_rest_token: Annotated[Secret, _about("Its token.")] = Secret("")
    redis_url: Annotated[str, _about("Another name for UPSTASH_REDIS_REST_URL.")] = ""
    redis_token: Annotated[Secret, _about("Another name for UPSTASH_REDIS_REST_TOKEN.")] = Secret("")
    email_verification: Annotated[
        Literal["optional", "required"],
        _about("`required`: nobody signs in with a password before their address is verified."),
    ] = "optional"
    password_words: Annotated[
        tuple[str, ...], _about("Further words that passwords may not be made of, separated by commas.")
    ] = ()
    password_breach_url: Annotated[
        str, _about("Service that looks up breached passwords by hash range, like HIBP's.")
    ] = ""
    password_breach_path: Annotated[
        Path | None, _about("The same on this machine: a folder of ranges, or one sorted file.")
    ] = None
    confirm_deletion: Annotated[
        Literal["off", "mail"], _about("`mail`: without a password, users are deleted by a link in a mail only.")
    ] = "off"
    smtp_url: Annotated[Secret, _about("Mail server: smtps://user:password@host:465; an outbox file when unset.")] = (
        Secret("")
    )
    mail_from: Annotated[
        str, _about("Sender of all mail, e.g. My App <no-reply@example.com>; needed with SMTP_URL.")
    ] = ""
    github_client_id: Annotated[str, _about("Sign-in with GitHub is on when this and its secret are set.")] = ""
    github_client_secret: Annotated[Secret, _about("Secret of the OAuth app at GitHub.")] = Secret("")
    github_url: Annotated[str, _about("Where people sign in: GitHub, or a GitHub Enterprise Server.")] = (
        "https://github.com"
    )
    github_api_url: Annotated[str, _about("Its API; https://HOST/api/v3 on a GitHub Enterprise Server.")] = (
        "https://api.github.com"
    )
    google_client_id: Annotated[str, _about("Sign-in with Google is on when this and its secret are set.")] = ""
    google_client_secret: Annotated[Secret, _about("Secret of the OAuth client at Google.")] = Secret("")
    oidc_issuer: Annotated[str, _about("Any OpenID Connect issuer, exactly as it calls itself; on when set.")] = ""
    oidc_id: Annotated[str, _about("What clients call this provider.", pattern="^[a-z0-9-]{1,32}$")] = "oidc"
    oidc_client_id: Annotated[str, _about("Client id of this service at the issuer.")] = ""
    oidc_client_secret: Annotated[Secret, _about("Client secret at the issuer.")] = Secret("")
    oidc_scopes: Annotated[tuple[str, ...], _about("What to ask the issuer for, separated by commas.")] = (
        "openid",
        "email",
        "profile",
    )
    request_head_timeout_s: Annotated[
        float, _about("Limit on the time that the head of a request may take.", gt=0, le=600)
    ] = 20.0
    request_body_timeout_s: Annotated[
        float, _about("The same for its body; each 1,000 bytes that come add a second.", gt=0, le=3600)
    ] = 30.0
    request_memory_mb: Annotated[
        int, _about("Memory for large request bodies of all clients; and for answers not read yet.", ge=16, le=100_000)
    ] = 256
    max_connections: Annotated[
        int, _about("Connections at once; half the limit on files at most.", ge=1, le=1_000_000)
    ] = 4000
    max_connections_each: Annotated[
        int, _about("The same of one client address; trusted proxies have no such limit.", ge=1, le=1_000_000)
    ] = 1000
    metrics_token: Annotated[Secret, _about("Whoever has it may read /metrics; if unset, only this machine may.")] = (
        Secret("")
    )
    log_level: Annotated[Literal["debug", "info", "warning", "error"], _about("Minimum level.")] = "info"
    log_format: Annotated[
        Literal["auto", "console", "json"], _about("`auto` is `console` on a terminal, else `json`.")
    ] = "auto"

    @property
    def has_remote_central(self) -> bool:
        """Whether the central database is on a libSQL server."""
        return self.database_url.startswith(SERVERS)

    @property
    def cache_url(self) -> str:
        """The URL of Redis; empty if there is none."""
        return self.upstash_redis_rest_url or self.redis_url

    @property
    def keeps_copies(self) -> bool:
        """Whether copies of sessions are kept outside the central database and memory."""
        return bool(self.cache_url) or self.session_cookie_cache != "off"

    @property
    def cache_token(self) -> str:
        return self.upstash_redis_rest_token.reveal() or self.redis_token.reveal()

    @property
    def central_namespace(self) -> str | None:
        """The namespace of a central database that is on the tenants' own sqld and has no token of its own."""
        if self.database_auth_token or not self.shares_sqld:
            return None
        return dict(parse_qsl(urlsplit(self.database_url).query)).get("namespace")

    @property
    def shares_sqld(self) -> bool:
        """Whether the central database is on the same sqld that runs tenants' SQL."""
        return self.tenant_provider == "sqld" and same_server(self.database_url, self.sqld_url)

    @property
    def central_names(self) -> frozenset[str]:
        """Names that the central database may have among the tenants' databases."""
        parts = urlsplit(self.database_url)
        label = (parts.hostname or "").partition(".")[0]
        if self.tenant_provider == "turso" and label:
            return frozenset({label.removesuffix(f"-{self.turso_organization}")})
        if self.tenant_provider != "sqld":
            return frozenset()
        # It was once in this namespace by default, which stays there after a move.
        found = {"central"}
        if self.shares_sqld:
            found |= {dict(parse_qsl(parts.query)).get("namespace", label)}
        return frozenset(found)

    @property
    def central_file(self) -> Path | None:
        """The file of the central database, if it is in one."""
        if self.has_remote_central:
            return None
        return Path(self.database_url.removeprefix("sqlite:///") or self.data_dir / "central.db")

    @property
    def own_origins(self) -> tuple[str, ...]:
        """The service's own origins; on a loopback address also `localhost`, which people type as well."""
        if self.better_auth_url or self.host not in {"127.0.0.1", "::1", "localhost"}:
            return (self.public_url,)
        return (self.public_url, f"http://localhost:{self.port}")

    @property
    def public_url(self) -> str:
        """The origin that clients use, without a trailing slash."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return (self.better_auth_url or f"http://{host}:{self.port}").rstrip("/")

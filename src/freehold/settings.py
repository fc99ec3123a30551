"""All configuration, read once from the environment. Nothing else touches `os.environ`."""

import re
from collections.abc import Mapping
from email.utils import parseaddr
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints
from urllib.parse import parse_qsl, urlsplit

import msgspec
from msgspec import Meta

from freehold.errors import FreeholdError
from freehold.limiting import Rate, parse_rate


class Secret(str):
    """A string that prints as `***`; `.reveal()` gives the text."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "***" if len(self) else "''"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)

    def reveal(self) -> str:
        return str.__str__(self)


_SERVERS = ("libsql://", "https://", "http://")


class BadSettings(FreeholdError):
    """One or more variables are missing or wrong. `faults` has one line for each."""

    code = "bad_settings"

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All configuration. Field `port` is the variable `PORT`."""

    host: Annotated[str, Meta(min_length=1, description="Address to listen on.")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="Port to listen on; 0 picks a free one.")] = 8000
    data_dir: Annotated[Path, Meta(description="All that the embedded mode writes.")] = Path("data")
    database_url: Annotated[
        str,
        Meta(
            description="Central database: a `sqlite:///` file or a libSQL server; a file in DATA_DIR when unset."
        ),
    ] = ""
    database_auth_token: Annotated[Secret, Meta(description="Token of a central database on a server.")] = (
        Secret("")
    )
    tenant_provider: Annotated[
        Literal["local", "sqld", "turso"],
        Meta(description="Where tenant databases live: files here, a libSQL server, or Turso."),
    ] = "local"
    sqld_url: Annotated[
        str, Meta(description="sqld's user port, reachable from here only, e.g. http://127.0.0.1:8080.")
    ] = ""
    sqld_admin_url: Annotated[str, Meta(description="sqld's admin port, e.g. http://127.0.0.1:9090.")] = ""
    sqld_admin_key: Annotated[Secret, Meta(description="What sqld got as --admin-auth-key.")] = Secret("")
    sqld_jwt_key_file: Annotated[
        Path | None,
        Meta(
            description="Ed25519 private key (PEM): signs database tokens, and all namespaces' keys come from it."
        ),
    ] = None
    sqld_data_dir: Annotated[
        Path | None,
        Meta(description="sqld's folder, if it is on this machine: lets `tenants reconcile` find orphans."),
    ] = None
    turso_api_token: Annotated[
        Secret, Meta(description="Platform token of Turso, from `turso auth api-tokens mint`.")
    ] = Secret("")
    turso_organization: Annotated[str, Meta(description="Slug of the organization on Turso.")] = ""
    turso_group: Annotated[
        str, Meta(min_length=1, description="Group that tenant databases are made in; it must exist.")
    ] = "default"
    turso_api_url: Annotated[
        str, Meta(description="Turso's Platform API, or its local twin: `freehold dev turso`.")
    ] = "https://api.turso.tech"
    tenant_max_size_mb: Annotated[
        int, Meta(ge=1, le=1_000_000, description="Limit on one tenant database, in MB.")
    ] = 512
    tenant_pool_size: Annotated[
        int,
        Meta(
            ge=0, le=1000, description="Databases kept ready for new users; 0 makes each when it is needed."
        ),
    ] = 0
    tenant_query_timeout_s: Annotated[
        float, Meta(gt=0, le=600, description="Limit on one statement of a tenant, in seconds.")
    ] = 5.0
    tenant_token_ttl_s: Annotated[
        int, Meta(ge=60, le=86400, description="Life of a database token, in seconds.")
    ] = 900
    schema_registry: Annotated[Path, Meta(description="Folder of the migrations to serve.")] = Path(
        "schema_registry/bahar"
    )
    registry_signing_key_file: Annotated[
        Path | None,
        Meta(description="Ed25519 private key (PEM) that signs the registry; made in DATA_DIR when unset."),
    ] = None
    registry_signing: Annotated[
        Literal["here", "elsewhere"],
        Meta(description="`elsewhere`: no key here; what `freehold registry sign` signed is published."),
    ] = "here"
    registry_token: Annotated[
        Secret,
        Meta(description="API key with the scope `registry:publish`, for `freehold registry publish --to`."),
    ] = Secret("")
    registry_signature_days: Annotated[
        int,
        Meta(ge=1, le=3650, description="Life of the registry's signature, renewed at half of it, in days."),
    ] = 30
    better_auth_secret: Annotated[
        Secret, Meta(description="Signs session cookies, 32 characters or more; made in DATA_DIR when unset.")
    ] = Secret("")
    jwt_key_days: Annotated[
        int, Meta(ge=1, le=3650, description="Age at which the key that signs JWTs is replaced, in days.")
    ] = 90
    better_auth_url: Annotated[
        str, Meta(description="Public origin, e.g. https://auth.example.com; http://HOST:PORT when unset.")
    ] = ""
    trusted_origins: Annotated[
        tuple[str, ...], Meta(description="Origins of front ends, separated by commas.")
    ] = ()
    trusted_proxies: Annotated[
        tuple[str, ...], Meta(description="Addresses whose X-Forwarded-For is believed, separated by commas.")
    ] = ()
    session_cookie_cache: Annotated[
        Literal["off", "compact", "jwt"],
        Meta(description="better-auth's cookie cache, for front ends that read sessions from the cookie."),
    ] = "off"
    rate_limits: Annotated[
        Literal["on", "off"],
        Meta(description="`off` for benchmarks, and behind a limiter of one's own."),
    ] = "on"
    rate_limit_auth: Annotated[
        Rate, Meta(description="/api/auth, each path and client address: NUMBER/SECONDS, or `off`.")
    ] = Rate(100, 10)
    rate_limit_sign_in: Annotated[
        Rate, Meta(description="Signing in and up, changing password or address; likewise.")
    ] = Rate(3, 10)
    rate_limit_mail: Annotated[
        Rate, Meta(description="What sends mail or checks a code from one; likewise.")
    ] = Rate(3, 60)
    rate_limit_codes: Annotated[
        Rate, Meta(description="Codes sent to one e-mail address; also with RATE_LIMITS off.")
    ] = Rate(3, 3600)
    rate_limit_api: Annotated[Rate, Meta(description="The API, for one user.")] = Rate(100, 60)
    rate_limit_api_address: Annotated[Rate, Meta(description="The API, for one client address.")] = Rate(
        1000, 60
    )
    rate_limit_databases: Annotated[Rate, Meta(description="/db/, for one client address.")] = Rate(0, 0)
    upstash_redis_rest_url: Annotated[
        str, Meta(description="Redis over Upstash's REST API: sessions and rate limits for all processes.")
    ] = ""
    upstash_redis_rest_token: Annotated[Secret, Meta(description="Its token.")] = Secret("")
    redis_url: Annotated[str, Meta(description="Another name for UPSTASH_REDIS_REST_URL.")] = ""
    redis_token: Annotated[Secret, Meta(description="Another name for UPSTASH_REDIS_REST_TOKEN.")] = Secret(
        ""
    )
    email_verification: Annotated[
        Literal["optional", "required"],
        Meta(description="`required`: nobody signs in with a password before their address is verified."),
    ] = "optional"
    confirm_deletion: Annotated[
        Literal["off", "mail"],
        Meta(description="`mail`: without a password, users are deleted by a link in a mail only."),
    ] = "off"
    smtp_url: Annotated[
        Secret, Meta(description="Mail server: smtps://user:password@host:465; an outbox file when unset.")
    ] = Secret("")
    mail_from: Annotated[
        str, Meta(description="Sender of all mail, e.g. My App <no-reply@example.com>; needed with SMTP_URL.")
    ] = ""
    github_client_id: Annotated[
        str, Meta(description="Sign-in with GitHub is on when this and its secret are set.")
    ] = ""
    github_client_secret: Annotated[Secret, Meta(description="Secret of the OAuth app at GitHub.")] = Secret(
        ""
    )
    github_url: Annotated[
        str, Meta(description="Where people sign in: GitHub, or a GitHub Enterprise Server.")
    ] = "https://github.com"
    github_api_url: Annotated[
        str, Meta(description="Its API; https://HOST/api/v3 on a GitHub Enterprise Server.")
    ] = "https://api.github.com"
    google_client_id: Annotated[
        str, Meta(description="Sign-in with Google is on when this and its secret are set.")
    ] = ""
    google_client_secret: Annotated[Secret, Meta(description="Secret of the OAuth client at Google.")] = (
        Secret("")
    )
    oidc_issuer: Annotated[
        str, Meta(description="Any OpenID Connect issuer, exactly as it calls itself; on when set.")
    ] = ""
    oidc_id: Annotated[
        str, Meta(pattern="^[a-z0-9-]{1,32}$", description="What clients call this provider.")
    ] = "oidc"
    oidc_client_id: Annotated[str, Meta(description="What the issuer calls this service.")] = ""
    oidc_client_secret: Annotated[Secret, Meta(description="Its secret there.")] = Secret("")
    oidc_scopes: Annotated[
        tuple[str, ...], Meta(description="What to ask the issuer for, separated by commas.")
    ] = ("openid", "email", "profile")
    metrics_token: Annotated[
        Secret, Meta(description="Who has it may read /metrics; when unset, only this machine may.")
    ] = Secret("")
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="Least level logged.")
    ] = "info"
    log_format: Annotated[
        Literal["auto", "console", "json"],
        Meta(description="`auto` is `console` on a terminal, else `json`."),
    ] = "auto"

    @property
    def has_remote_central(self) -> bool:
        """Whether the central database is on a libSQL server."""
        return self.database_url.startswith(_SERVERS)

    @property
    def cache_url(self) -> str:
        """Where Redis answers; empty when there is none."""
        return self.upstash_redis_rest_url or self.redis_url

    @property
    def keeps_copies(self) -> bool:
        """Whether sessions are kept elsewhere than in the central database and in memory."""
        return bool(self.cache_url) or self.session_cookie_cache != "off"

    @property
    def cache_token(self) -> str:
        return self.upstash_redis_rest_token.reveal() or self.redis_token.reveal()

    @property
    def central_namespace(self) -> str | None:
        """The namespace of a central database that is on the tenants' own sqld and has no token of its own."""
        parts = urlsplit(self.database_url)
        is_there = f"{parts.scheme}://{parts.netloc}" == self.sqld_url.rstrip("/")
        if self.tenant_provider != "sqld" or self.database_auth_token or not is_there:
            return None
        return dict(parse_qsl(parts.query)).get("namespace")

    @property
    def own_origins(self) -> tuple[str, ...]:
        """Origins that are this service itself. On a loopback address people type `localhost` just as well."""
        if self.better_auth_url or self.host not in {"127.0.0.1", "::1", "localhost"}:
            return (self.public_url,)
        return (self.public_url, f"http://localhost:{self.port}")

    @property
    def public_url(self) -> str:
        """Origin that clients use, without a slash at the end."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return (self.better_auth_url or f"http://{host}:{self.port}").rstrip("/")


def load_settings(environ: Mapping[str, str]) -> Settings:
    """Settings from variables; an empty value counts as unset.

    Raises:
        BadSettings: with one line for every variable that is missing or wrong.
    """
    hints = get_type_hints(Settings, include_extras=True)
    values: dict[str, Any] = {}
    faults: list[str] = []
    for field in msgspec.structs.fields(Settings):
        name = field.name.upper()
        text = environ.get(name, "").strip()
        if not text:
            continue
        try:
            values[field.name] = _convert(text, hints[field.name])
        except ValueError as error:
            faults.append(f"{name}: {_explain(error, text, secret=_is_secret(hints[field.name]))}")
    settings = Settings(**values)  # those that could not be read have their defaults, which are sound
    faults += _check(settings)
    if faults:
        raise BadSettings(faults)
    return settings


def variables() -> dict[str, str]:
    """Name and meaning of every variable, in order; `.env.example` lists exactly these."""
    found: dict[str, str] = {}
    for name, hint in get_type_hints(Settings, include_extras=True).items():
        meta = next(extra for extra in hint.__metadata__ if isinstance(extra, Meta))
        found[name.upper()] = meta.description or ""
    return found


def _is_secret(hint: Any) -> bool:
    return bool(get_args(hint)) and get_args(hint)[0] is Secret


def _convert(text: str, hint: Any) -> Any:
    kind = get_args(hint)[0]
    if kind is Secret:
        return Secret(text)
    if kind is Rate:
        return parse_rate(text)
    if kind is Path or kind == Path | None:
        return Path(text).expanduser()
    if get_origin(kind) is tuple:
        return tuple(part.strip() for part in text.split(",") if part.strip())
    return msgspec.convert(text, hint, strict=False)


def _explain(error: ValueError, text: str, *, secret: bool) -> str:
    reason = str(error).split(", got ")[0].removesuffix(f" {text!r}")
    reason = reason[0].lower() + reason[1:]
    return reason if secret else f"{reason}, got `{text}`"


def _check(settings: Settings) -> list[str]:
    """Faults that need more than one look at a value, in our words."""
    faults: list[str] = []
    if settings.database_url and not settings.database_url.startswith(("sqlite:///", *_SERVERS)):
        scheme = settings.database_url.split(":", 1)[0]
        faults.append(
            f"DATABASE_URL: expected `sqlite:///path` or a libSQL server's URL, got a `{scheme}:` URL"
        )
    if settings.better_auth_url and not _is_origin(settings.better_auth_url):
        faults.append(
            f"BETTER_AUTH_URL: expected an origin such as https://auth.example.com, got `{settings.better_auth_url}`"
        )
    faults += [
        f"TRUSTED_PROXIES: expected addresses or networks such as 10.0.0.0/8, got `{proxy}`"
        for proxy in settings.trusted_proxies
        if not _is_network(proxy)
    ]
    faults += _check_cache(settings)
    faults += _check_social(settings)
    if settings.tenant_provider == "sqld":
        faults += _check_sqld(settings)
    if settings.tenant_provider == "turso":
        faults += _check_turso(settings)
    faults += _check_mail(settings)
    if 0 < len(settings.better_auth_secret) < 32:
        faults.append("BETTER_AUTH_SECRET: expected 32 characters or more; try `openssl rand -base64 32`")
    return faults


def _check_mail(settings: Settings) -> list[str]:
    faults = []
    if settings.smtp_url:
        if not _is_mail_server(settings.smtp_url.reveal()):
            faults.append("SMTP_URL: expected a URL such as smtps://user:password@smtp.example.com:465")
        if not settings.mail_from:
            faults.append("MAIL_FROM: needed, as SMTP_URL is set, e.g. My App <no-reply@example.com>")
    if settings.mail_from and not _is_sender(settings.mail_from):
        faults.append(
            f"MAIL_FROM: expected a sender such as My App <no-reply@example.com>, got `{settings.mail_from}`"
        )
    return faults


def _check_sqld(settings: Settings) -> list[str]:
    faults = [
        f"{name}: expected an origin such as http://127.0.0.1:8080, as TENANT_PROVIDER is `sqld`, got `{value}`"
        for name, value in (("SQLD_URL", settings.sqld_url), ("SQLD_ADMIN_URL", settings.sqld_admin_url))
        if not _is_origin(value)
    ]
    if not settings.sqld_admin_key:
        faults.append(
            "SQLD_ADMIN_KEY: needed, as TENANT_PROVIDER is `sqld`; without one anybody is sqld's admin"
        )
    elif not settings.sqld_admin_key.reveal().isprintable():
        faults.append("SQLD_ADMIN_KEY: must be one line of printable characters")
    if settings.sqld_jwt_key_file is None:
        faults.append(
            "SQLD_JWT_KEY_FILE: needed, as TENANT_PROVIDER is `sqld`; try `openssl genpkey -algorithm ed25519`"
        )
    return faults


def _check_turso(settings: Settings) -> list[str]:
    faults = []
    token = settings.turso_api_token.reveal()
    if not token:
        faults.append(
            "TURSO_API_TOKEN: needed, as TENANT_PROVIDER is `turso`; try `turso auth api-tokens mint`"
        )
    elif not token.isascii() or not token.isprintable() or " " in token:
        faults.append("TURSO_API_TOKEN: must be one word of printable characters")
    if not re.fullmatch(r"[a-z0-9-]{1,34}", settings.turso_organization):
        # With a database's name it makes one part of a host's name, of 63 characters at most.
        faults.append(
            "TURSO_ORGANIZATION: expected the organization's slug, up to 34 characters out of a-z, 0-9 and -,"
            f" as TENANT_PROVIDER is `turso`, got `{settings.turso_organization}`"
        )
    if not re.fullmatch(r"[a-z0-9-]{1,64}", settings.turso_group):
        faults.append(f"TURSO_GROUP: expected a name out of a-z, 0-9 and -, got `{settings.turso_group}`")
    if not _is_origin(settings.turso_api_url):
        faults.append(
            f"TURSO_API_URL: expected an origin such as https://api.turso.tech, got `{settings.turso_api_url}`"
        )
    elif settings.turso_api_url.startswith("http:") and not _is_loopback(settings.turso_api_url):
        faults.append(
            "TURSO_API_URL: expected https; without it only the local twin on this machine is called"
        )
    return faults


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _check_cache(settings: Settings) -> list[str]:
    name = "UPSTASH_REDIS_REST" if settings.upstash_redis_rest_url else "REDIS"
    if not settings.cache_url:
        return ["UPSTASH_REDIS_REST_URL: needed, as there is a token"] if settings.cache_token else []
    if not settings.cache_url.startswith(("https://", "http://")):
        scheme = settings.cache_url.split(":", 1)[0]
        return [f"{name}_URL: expected the https URL of an Upstash REST API, got a `{scheme}:` URL"]
    if "@" in urlsplit(settings.cache_url).netloc:
        return [f"{name}_URL: expected no password in it; the token goes into {name}_TOKEN"]
    if (
        not settings.cache_token
        or not settings.cache_token.isascii()
        or not settings.cache_token.isprintable()
    ):
        return [f"{name}_TOKEN: expected the token that goes with {name}_URL"]
    return []


def _is_mail_server(url: str) -> bool:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    return (
        parts.scheme in {"smtp", "smtps"}
        and bool(parts.hostname)
        and parts.path in {"", "/"}
        and parts.query in {"", "starttls=off", "starttls=required"}
    )


def _is_sender(text: str) -> bool:
    address = parseaddr(text)[1]
    local, _, domain = address.rpartition("@")
    is_address = bool(local) and bool(domain) and address.isascii() and not set(address) & set(' <>"(),')
    return text.isprintable() and is_address


def _check_social(settings: Settings) -> list[str]:
    pairs = (
        ("GITHUB", settings.github_client_id, settings.github_client_secret),
        ("GOOGLE", settings.google_client_id, settings.google_client_secret),
        ("OIDC", settings.oidc_client_id, settings.oidc_client_secret),
    )
    faults = [
        f"{name}_CLIENT_{'SECRET' if client_id else 'ID'}: needed, as the other half is set"
        for name, client_id, secret in pairs
        if bool(client_id) != bool(secret)
    ]
    urls = (
        ("GITHUB_URL", settings.github_url),
        ("GITHUB_API_URL", settings.github_api_url),
        ("OIDC_ISSUER", settings.oidc_issuer),
    )
    faults += [
        f"{name}: expected an https URL such as https://login.example.com, got `{url}`"
        for name, url in urls
        if url and not is_private_to(url)
    ]
    if bool(settings.oidc_issuer) != bool(settings.oidc_client_id):
        name = "OIDC_CLIENT_ID" if settings.oidc_issuer else "OIDC_ISSUER"
        faults.append(f"{name}: needed, as the other half is set")
    if settings.oidc_id in {"github", "google", "credential"}:
        faults.append(f"OIDC_ID: `{settings.oidc_id}` means something else; choose another")
    if "openid" not in settings.oidc_scopes:
        faults.append("OIDC_SCOPES: `openid` must be among them")
    return faults


def is_private_to(url: str) -> bool:
    """Whether nobody in between can read or change what is said there: TLS, or this very machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return False
    if not host or parts.query or parts.fragment or "@" in parts.netloc:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and host in {"127.0.0.1", "::1", "localhost"})


def _is_network(text: str) -> bool:
    try:
        ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def _is_origin(url: str) -> bool:
    parts = urlsplit(url)
    return (
        parts.scheme in {"http", "https"}
        and bool(parts.netloc)
        and parts.path in {"", "/"}
        and not parts.query
    )

"""Checks of settings that their types cannot express, such as URLs and combinations, with messages of our own."""

import os
import re
from collections.abc import Iterator
from email.utils import parseaddr
from ipaddress import ip_network
from urllib.parse import urlsplit

from freehold.settings.fields import Settings
from freehold.settings.servers import SERVERS, is_loopback, is_private_to


def check(settings: Settings) -> Iterator[str]:
    """One line for each fault, naming its variable."""
    if settings.database_url and not settings.database_url.startswith(("sqlite:///", *SERVERS)):
        scheme = settings.database_url.split(":", 1)[0]
        yield f"DATABASE_URL: expected `sqlite:///path` or a libSQL server's URL, got a `{scheme}:` URL"
    if settings.better_auth_url and not _is_origin(settings.better_auth_url):
        yield f"BETTER_AUTH_URL: expected an origin such as https://auth.example.com, got `{settings.better_auth_url}`"
    yield from (
        f"TRUSTED_PROXIES: expected addresses or networks such as 10.0.0.0/8, got `{proxy}`"
        for proxy in settings.trusted_proxies
        if not _is_network(proxy)
    )
    yield from _check_cache(settings)
    if settings.http_workers > 1:
        yield from _check_workers(settings)
    yield from _check_social(settings)
    if settings.tenant_provider == "sqld":
        yield from _check_sqld(settings)
    if settings.tenant_provider == "turso":
        yield from _check_turso(settings)
    yield from _check_mail(settings)
    yield from _check_passwords(settings)
    if 0 < len(settings.better_auth_secret) < 32:
        yield "BETTER_AUTH_SECRET: expected 32 characters or more; try `openssl rand -base64 32`"


def _check_passwords(settings: Settings) -> Iterator[str]:
    url = settings.password_breach_url
    if url and not (urlsplit(url).hostname and url.startswith(("https://", "http://"))):
        yield f"PASSWORD_BREACH_URL: expected a URL such as https://api.pwnedpasswords.com/range/, got `{url}`"
    if url and settings.password_breach_path is not None:
        yield "PASSWORD_BREACH_PATH: set this or PASSWORD_BREACH_URL, not both"


def _check_mail(settings: Settings) -> Iterator[str]:
    if settings.smtp_url:
        if not _is_mail_server(settings.smtp_url.reveal()):
            yield "SMTP_URL: expected a URL such as smtps://user:password@smtp.example.com:465"
        if not settings.mail_from:
            yield "MAIL_FROM: needed, as SMTP_URL is set, e.g. My App <no-reply@example.com>"
    if settings.mail_from and not _is_sender(settings.mail_from):
        yield f"MAIL_FROM: expected a sender such as My App <no-reply@example.com>, got `{settings.mail_from}`"


def _check_sqld(settings: Settings) -> Iterator[str]:
    yield from (
        f"{name}: expected an origin such as http://127.0.0.1:8080, as TENANT_PROVIDER is `sqld`, got `{value}`"
        for name, value in (("SQLD_URL", settings.sqld_url), ("SQLD_ADMIN_URL", settings.sqld_admin_url))
        if not _is_origin(value)
    )
    if not settings.sqld_admin_key:
        yield "SQLD_ADMIN_KEY: needed, as TENANT_PROVIDER is `sqld`; without one, anyone can administer sqld"
    elif not settings.sqld_admin_key.reveal().isprintable():
        yield "SQLD_ADMIN_KEY: must be one line of printable characters"
    if settings.sqld_supervisor_url and not _is_origin(settings.sqld_supervisor_url):
        yield (
            "SQLD_SUPERVISOR_URL: expected an origin such as http://127.0.0.1:9091,"
            f" got `{settings.sqld_supervisor_url}`"
        )
    if settings.sqld_jwt_key_file is None:
        yield "SQLD_JWT_KEY_FILE: needed, as TENANT_PROVIDER is `sqld`; try `openssl genpkey -algorithm ed25519`"


def _check_turso(settings: Settings) -> Iterator[str]:
    token = settings.turso_api_token.reveal()
    if not token:
        yield "TURSO_API_TOKEN: needed, as TENANT_PROVIDER is `turso`; try `turso auth api-tokens mint`"
    elif not token.isascii() or not token.isprintable() or " " in token:
        yield "TURSO_API_TOKEN: must be one word of printable characters"
    if not re.fullmatch(r"[a-z0-9-]{1,34}", settings.turso_organization):
        # With a database's name it forms one label of a host name, which has 63 characters at most.
        yield (
            "TURSO_ORGANIZATION: expected the organization's slug, up to 34 characters out of a-z, 0-9 and -,"
            f" as TENANT_PROVIDER is `turso`, got `{settings.turso_organization}`"
        )
    if not re.fullmatch(r"[a-z0-9-]{1,64}", settings.turso_group):
        yield f"TURSO_GROUP: expected a name out of a-z, 0-9 and -, got `{settings.turso_group}`"
    if not _is_origin(settings.turso_api_url):
        yield f"TURSO_API_URL: expected an origin such as https://api.turso.tech, got `{settings.turso_api_url}`"
    elif settings.turso_api_url.startswith("http:") and not is_loopback(settings.turso_api_url):
        yield "TURSO_API_URL: expected https; without it only the local twin on this machine is called"


def _check_workers(settings: Settings) -> Iterator[str]:
    """What several processes of one service would each count, or hold, for themselves."""
    if not hasattr(os, "fork"):
        yield "HTTP_WORKERS: this system cannot fork processes; leave it at 1"
    if settings.tenant_provider == "sqld":
        yield (
            "HTTP_WORKERS: leave it at 1, as TENANT_PROVIDER is `sqld`, whose calls take turns in one process;"
            " see docs/self-hosting.md for several services in front of one sqld"
        )
    if settings.tenant_provider == "local" and settings.engines == 0:
        yield "HTTP_WORKERS: needs ENGINES of 1 or more, so that all of them share the tenants' files"
    if settings.rate_limits == "on" and not settings.cache_url:
        yield "HTTP_WORKERS: needs Redis to count rate limits for all of them: set UPSTASH_REDIS_REST_URL and its token"


def _check_cache(settings: Settings) -> Iterator[str]:
    name = "UPSTASH_REDIS_REST" if settings.upstash_redis_rest_url else "REDIS"
    if not settings.cache_url:
        if settings.cache_token:
            yield "UPSTASH_REDIS_REST_URL: needed, as there is a token"
    elif not settings.cache_url.startswith(("https://", "http://")):
        scheme = settings.cache_url.split(":", 1)[0]
        yield f"{name}_URL: expected the https URL of an Upstash REST API, got a `{scheme}:` URL"
    elif "@" in urlsplit(settings.cache_url).netloc:
        yield f"{name}_URL: expected no password in it; the token goes into {name}_TOKEN"
    elif not settings.cache_token or not settings.cache_token.isascii() or not settings.cache_token.isprintable():
        yield f"{name}_TOKEN: expected the token that goes with {name}_URL"


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


def _check_social(settings: Settings) -> Iterator[str]:
    pairs = (
        ("GITHUB", settings.github_client_id, settings.github_client_secret),
        ("GOOGLE", settings.google_client_id, settings.google_client_secret),
        ("OIDC", settings.oidc_client_id, settings.oidc_client_secret),
    )
    yield from (
        f"{name}_CLIENT_{'SECRET' if client_id else 'ID'}: needed, as the other half is set"
        for name, client_id, secret in pairs
        if bool(client_id) != bool(secret)
    )
    urls = (
        ("GITHUB_URL", settings.github_url),
        ("GITHUB_API_URL", settings.github_api_url),
        ("OIDC_ISSUER", settings.oidc_issuer),
    )
    yield from (
        f"{name}: expected an https URL such as https://login.example.com, got `{url}`"
        for name, url in urls
        if url and not is_private_to(url)
    )
    if bool(settings.oidc_issuer) != bool(settings.oidc_client_id):
        name = "OIDC_CLIENT_ID" if settings.oidc_issuer else "OIDC_ISSUER"
        yield f"{name}: needed, as the other half is set"
    if settings.oidc_id in {"github", "google", "credential"}:
        yield f"OIDC_ID: `{settings.oidc_id}` means something else; choose another"
    if "openid" not in settings.oidc_scopes:
        yield "OIDC_SCOPES: `openid` must be among them"


def _is_network(text: str) -> bool:
    try:
        ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def _is_origin(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in {"http", "https"} and bool(parts.netloc) and parts.path in {"", "/"} and not parts.query

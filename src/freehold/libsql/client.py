"""The driver's front door: a client for a URL."""

import aiohttp

from freehold.libsql.bearer import Token
from freehold.libsql.endpoint import TIMEOUT_S, Endpoint
from freehold.libsql.errors import LibsqlError, Refused, StreamLost, Unreachable
from freehold.libsql.file_client import FileClient
from freehold.libsql.hrana_client import HranaClient
from freehold.libsql.interface import Client, InArgs, InStatement, InValue, Mode, Statement, Transaction
from freehold.libsql.result import ResultSet, Row, Value
from freehold.libsql.urls import FileUrl, parse_url

__all__ = [
    "Client",
    "InArgs",
    "InStatement",
    "InValue",
    "LibsqlError",
    "Mode",
    "Refused",
    "ResultSet",
    "Row",
    "Statement",
    "StreamLost",
    "Token",
    "Transaction",
    "Unreachable",
    "Value",
    "create_client",
]


def create_client(
    url: str,
    *,
    auth_token: Token = None,
    tls: bool | None = None,
    timeout_s: float = TIMEOUT_S,
    missing_grace_s: float = 0.0,
    session: aiohttp.ClientSession | None = None,
) -> Client:
    """A client for `libsql:`, `https:`, `http:`, `wss:`, `ws:` (both spoken to over HTTP) or `file:`.

    Nothing is sent or opened yet. `auth_token` may be what gives one, awaitable or not; it is asked again when the
    server refuses the last one. `missing_grace_s` is for a database that is known to exist, on a server that may
    not have it at hand: how long a "not found" is asked again. A `session` given here is shared, and not closed.

    Raises:
        LibsqlError: the URL cannot be used.
    """
    place = parse_url(url, token=auth_token if isinstance(auth_token, str) else None, tls=tls)
    if isinstance(place, FileUrl):
        return FileClient(place.path, timeout_s=timeout_s)
    return HranaClient(
        Endpoint(
            place.base,
            place.token if place.token is not None else auth_token,
            namespace=place.namespace,
            session=session,
            timeout_s=timeout_s,
            missing_grace_s=missing_grace_s,
        )
    )

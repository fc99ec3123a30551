"""What a client says of itself when it pulls, and what shows who it is."""

from typing import NamedTuple, get_args

from litestar.types import Scope

from freehold.auth.recognition import CredentialKind
from freehold.auth.sessions.cookies import SessionCookies
from freehold.http.client_address import ClientAddresses
from freehold.http.headers import API_KEY_HEADER, access_token_of, header, presented_by
from freehold.registry.client_versions import ClientVersions
from freehold.registry.taken_down import Credential

APP_HEADER, DEVICE_HEADER = b"freehold-app-version", b"freehold-device"
_MAX_SAID_CHARS = 64
# Longer than any that is ours; it is kept in memory for a moment.
_MAX_CREDENTIAL_CHARS = 4_096
_SESSION, _ACCESS_TOKEN, _API_KEY = get_args(CredentialKind)


class Said(NamedTuple):
    """Empty where nothing was said, or nothing that it can be."""

    app: str
    device: str


def said_in(scope: Scope) -> Said:
    """What the request's headers say."""
    app = device = ""
    for name, value in scope["headers"]:
        if name == APP_HEADER:
            app = app or _said(value)
        elif name == DEVICE_HEADER:
            device = device or _said(value)
    return Said(app, device)


class ClientReports:
    """Takes reports down with what tells whose they are; that is looked at later, off the request."""

    def __init__(self, reports: ClientVersions, cookies: SessionCookies, addresses: ClientAddresses) -> None:
        self._reports = reports
        self._cookies = cookies
        self._addresses = addresses

    def note(self, scope: Scope, said: Said, schema_version: int) -> None:
        """Take down what this request says; takes microseconds."""
        self._reports.note(
            said.device,
            said.app,
            schema_version,
            address=self._addresses.accountable(scope),
            credential=self._credential(scope),
        )

    def _credential(self, scope: Scope) -> Credential | None:
        """An API key goes before all else, as everywhere. A cookie with a bad signature is none."""
        if (api_key := header(scope, API_KEY_HEADER)) is not None:
            return _within_limits(Credential(_API_KEY, api_key))
        if (access_token := access_token_of(scope)) is not None:
            return _within_limits(Credential(_ACCESS_TOKEN, access_token))
        presented = presented_by(scope, self._cookies)
        return None if presented is None else _within_limits(Credential(_SESSION, presented.token))


def _said(value: bytes) -> str:
    text = value.decode("latin-1")
    return text if len(text) <= _MAX_SAID_CHARS and text.isascii() and text.isprintable() else ""


def _within_limits(credential: Credential) -> Credential | None:
    return credential if len(credential.text) <= _MAX_CREDENTIAL_CHARS else None

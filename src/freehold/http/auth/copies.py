"""The cookie cache that a request carries: read when it is needed, sent anew when it is missing or was no good."""

from litestar.types import Scope

from freehold.auth.service import Auth
from freehold.auth.sessions.session_data import SessionData
from freehold.auth.types import SignedIn
from freehold.http.headers import header


class SentCopy:
    """Called, it gives the copy in the cookie."""

    def __init__(self, data: SessionData, auth: Auth, scope: Scope, token: str) -> None:
        self._data = data
        self._auth = auth
        self._token = token
        self._value = auth.cookies.data_in(header(scope, b"cookie") or "")
        self._was_asked = False
        self._found: SignedIn | None = None

    def __call__(self) -> SignedIn | None:
        self._was_asked = True
        if self._value is not None:
            self._found = self._data.read(self._value, self._token, self._auth.clock())
        return self._found

    def is_wanted(self, answered: SignedIn) -> bool:
        """Whether the client should get a new one: it has none, or the answer did not come from it when asked."""
        return self._value is None or (self._was_asked and answered is not self._found)

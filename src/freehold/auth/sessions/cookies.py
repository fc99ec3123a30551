"""Session tokens in requests: in a signed cookie, or as a bearer token with or without its signature.

The signed form is `TOKEN.SIGNATURE`; the signature is the padded base64 of HMAC-SHA256 over the token, with the secret
as key. In a cookie all of it is percent-encoded.
"""

import base64
import hmac
from collections.abc import Iterator
from typing import Literal
from urllib.parse import quote, unquote

import msgspec

_PREFIX = "better-auth"
_FORM_NAME = "session_id"
_MAX_AGE_S = 7 * 24 * 3600
_STATE_MAX_AGE_S = 300
_REMEMBER_NOT = "true"
_KNOWN_VALUES, _KNOWN_LENGTH = 20_000, 200  # limits on the memory of verified cookies


class Presented(msgspec.Struct, frozen=True, kw_only=True):
    """A session token from a request. `is_remembered`: the sign-in asked for a lasting session."""

    token: str
    via: Literal["cookie", "bearer"]
    is_remembered: bool = True


class SessionCookies:
    """Signs, reads and clears one server's cookies.

    If its URL is `https`, their names begin with `__Secure-`, so that plain `http` pages cannot set them.
    """

    def __init__(self, secret: str, public_url: str) -> None:
        is_secure = public_url.startswith("https://")
        prefix = f"__Secure-{_PREFIX}" if is_secure else _PREFIX
        self._key = secret.encode()
        self._session_name = f"{prefix}.session_token"
        self._remember_not_name = f"{prefix}.dont_remember"
        self._admin_name = f"{prefix}.admin_session"
        self._state_name = f"{prefix}.state"
        self._attributes = "; Path=/; HttpOnly" + ("; Secure" if is_secure else "") + "; SameSite=Lax"
        self._data_name = f"{prefix}.session_data"
        names = (self._session_name, self._data_name, self._remember_not_name)
        self.clearing = tuple(f"{name}=; Max-Age=0{self._attributes}" for name in names)
        """`Set-Cookie` values that end a session in the browser."""
        self.form_clearing = f"{_FORM_NAME}=; Max-Age=0{self._attributes}"
        """The `Set-Cookie` value that clears the cookie of `form_setting`."""
        self._known: dict[str, str] = {}

    @property
    def names(self) -> tuple[str, str]:
        """The names of the session cookie and of the form cookie."""
        return self._session_name, _FORM_NAME

    def sign(self, token: str) -> str:
        """`TOKEN.SIGNATURE`, as in the header `set-auth-token`."""
        return f"{token}.{self._signature(token)}"

    def setting(self, token: str, *, is_remembered: bool = True) -> tuple[str, ...]:
        """`Set-Cookie` values for a session: for a week, or until the browser is closed."""
        if is_remembered:
            return (f"{self._session_name}={self._value(token)}; Max-Age={_MAX_AGE_S}{self._attributes}",)
        return (
            f"{self._session_name}={self._value(token)}{self._attributes}",
            f"{self._remember_not_name}={self._value(_REMEMBER_NOT)}{self._attributes}",
        )

    def data_setting(self, value: str, max_age_s: int | None) -> str:
        """The `Set-Cookie` value for the session's copy, which contains its own signature."""
        age = "" if max_age_s is None else f"; Max-Age={max_age_s}"
        return f"{self._data_name}={value}{age}{self._attributes}"

    def data_in(self, cookies: str) -> str | None:
        """The session's copy as it was sent."""
        if self._data_name not in cookies:
            return None
        return next(_cookies_named(self._data_name, cookies), None)

    def setting_state(self, state: str) -> str:
        """The `Set-Cookie` value that binds a browser to a sign-in with a provider."""
        return f"{self._state_name}={self._value(state)}; Max-Age={_STATE_MAX_AGE_S}{self._attributes}"

    @property
    def clearing_state(self) -> str:
        return f"{self._state_name}=; Max-Age=0{self._attributes}"

    def state_in(self, cookies: str) -> str | None:
        """The state that this browser is bound to."""
        return self._signed_cookie(cookies, self._state_name)

    def form_setting(self, token: str) -> str:
        """The `Set-Cookie` value for clients that expect the session cookie to be called `session_id`."""
        return f"{_FORM_NAME}={self._value(token)}; Max-Age={_MAX_AGE_S}{self._attributes}"

    def setting_admin(self, token: str, *, is_remembered: bool) -> str:
        """The `Set-Cookie` value that keeps an administrator's own session while they impersonate a user."""
        value = self._value(f"{token}:{'' if is_remembered else _REMEMBER_NOT}")
        return f"{self._admin_name}={value}; Max-Age={_MAX_AGE_S}{self._attributes}"

    @property
    def clearing_admin(self) -> str:
        return f"{self._admin_name}=; Max-Age=0{self._attributes}"

    def admin_in(self, cookies: str) -> Presented | None:
        """The administrator's own session."""
        token, colon, remember_not = (self._signed_cookie(cookies, self._admin_name) or "").partition(":")
        if not colon or not token:
            return None
        return Presented(token=token, via="cookie", is_remembered=remember_not != _REMEMBER_NOT)

    def presented(
        self, authorization: str | None, cookies: str | None, *, takes_form_cookie: bool = False
    ) -> Presented | None:
        """The token in these two headers: a bearer token takes precedence, and badly signed tokens are ignored.

        `session_id` counts only with `takes_form_cookie`, and after the other cookie: its name lacks the prefix that
        keeps plain `http` pages from setting it.
        """
        remembered = cookies is None or self._signed_cookie(cookies, self._remember_not_name) != _REMEMBER_NOT
        if authorization is not None and (token := self._bearer(authorization)):
            return Presented(token=token, via="bearer", is_remembered=remembered)
        if cookies is not None and (token := self._signed_cookie(cookies, self._session_name)):
            return Presented(token=token, via="cookie", is_remembered=remembered)
        if takes_form_cookie and cookies is not None and (token := self._signed_cookie(cookies, _FORM_NAME)):
            return Presented(token=token, via="cookie")
        return None

    def all_in(self, cookies: str) -> list[str]:
        """All session tokens in this header, without duplicates."""
        found = [self._signed_cookie(cookies, name) for name in (self._session_name, _FORM_NAME)]
        return list(dict.fromkeys(token for token in found if token))

    def _bearer(self, authorization: str) -> str | None:
        scheme, _, text = authorization.strip().partition(" ")
        text = text.strip()
        if scheme.lower() != "bearer" or not text:
            return None
        return self._verified(unquote(text)) if "." in text else text

    def _signed_cookie(self, cookies: str, name: str) -> str | None:
        if name not in cookies:
            return None
        for value in _cookies_named(name, cookies):
            if (token := self._token_in(value)) is not None:
                return token
        return None

    def _token_in(self, value: str) -> str | None:
        """The verified token. Cached: verifying takes a fifth of a get-session that is answered from memory."""
        token = self._known.get(value)
        if token is None and (token := self._verified(unquote(value))) is not None:
            if len(self._known) >= _KNOWN_VALUES:
                self._known.clear()
            if len(value) <= _KNOWN_LENGTH:
                self._known[value] = token
        return token

    def _verified(self, signed: str) -> str | None:
        token, _, signature = signed.rpartition(".")
        is_ours = hmac.compare_digest(self._signature(token).encode(), signature.encode())
        return token if is_ours and token else None

    def _value(self, token: str) -> str:
        return quote(self.sign(token), safe="")

    def _signature(self, token: str) -> str:
        digest = hmac.digest(self._key, token.encode(), "sha256")
        return base64.b64encode(digest).decode()


def _cookies_named(name: str, cookies: str) -> Iterator[str]:
    for part in cookies.split(";"):
        key, _, value = part.strip().partition("=")
        if key == name:
            yield value.strip('"')

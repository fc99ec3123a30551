"""Validates e-mail addresses as better-auth does, which is stricter than the RFCs."""

import re

from freehold.auth.errors import InvalidEmail

_LOCAL = r"(?!\.)(?:[A-Z0-9_'+-]|\.(?!\.))*[A-Z0-9_+-]"
_LABEL = r"[A-Z0-9][A-Z0-9-]*"
_ADDRESS = re.compile(rf"{_LOCAL}@(?:{_LABEL}\.)+[A-Z]{{2,}}", re.IGNORECASE | re.ASCII)
_MAX_LENGTH = 320  # the longest that RFC 3696 allows; also bounds the pattern's work


def is_email(text: str) -> bool:
    """Whether the text is an ASCII address with a dot in its domain."""
    return len(text) <= _MAX_LENGTH and _ADDRESS.fullmatch(text) is not None


def checked_email(email: str) -> str:
    """The address in lower case. Raises `InvalidEmail`."""
    if not is_email(email):
        raise InvalidEmail
    return email.lower()

"""Reads the few usable fields of a provider's profile."""

import re
from typing import Any
from urllib.parse import urlsplit

from freehold.auth.emails import is_email
from freehold.auth.social.errors import SocialRefusal
from freehold.auth.social.types import Identity

_MAX_NAME, _MAX_URL, _MAX_SUBJECT = 200, 2_000, 255  # a subject's limit is OpenID Connect's
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def identity(
    provider_id: str,
    subject: Any,
    *,
    email: Any,
    email_verified: Any,
    names: tuple[Any, ...],
    image: Any,
    scopes: tuple[str, ...],
) -> Identity:
    """The identity in these fields, which may be anything; the first of `names` that is text is used.

    Raises:
        SocialRefusal: `unable_to_get_user_info` without a subject, `email_not_found` without an address.
    """
    if not isinstance(subject, str) or not 0 < len(subject) <= _MAX_SUBJECT or _CONTROL.search(subject):
        raise SocialRefusal("unable_to_get_user_info", f"{provider_id} does not identify the user")
    if not isinstance(email, str) or not is_email(email):
        raise SocialRefusal("email_not_found", f"{provider_id} returned no valid e-mail address")
    return Identity(
        provider_id=provider_id,
        subject=subject,
        email=email.lower(),
        email_verified=email_verified is True or email_verified == "true",  # some providers send text
        name=next((name for name in map(_text, names) if name), email.partition("@")[0]),
        image=_image(image),
        scopes=scopes,
    )


def _text(value: Any) -> str:
    return _CONTROL.sub("", value).strip()[:_MAX_NAME] if isinstance(value, str) else ""


def _image(value: Any) -> str | None:
    if not isinstance(value, str) or len(value) > _MAX_URL or _CONTROL.search(value) or " " in value:
        return None
    try:
        parts = urlsplit(value)
    except ValueError:
        return None
    return value if parts.scheme in {"http", "https"} and parts.netloc else None

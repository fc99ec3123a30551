"""The e-mails that auth sends. The mail adapter writes their texts and delivers them."""

from typing import Literal

import msgspec

Language = Literal["en", "ar", "km"]

NoticeKind = Literal["address-changed", "password-changed"]
"""Notices of a change; they need no action and contain no secret."""

EmailKind = Literal[
    "sign-in-code",
    "verify-code",
    "reset-code",
    "change-email-code",
    "verify-link",
    "sign-up-link",
    "reset-link",
    "change-email-link",
    "delete-link",
    "address-changed",
    "password-changed",
]


class OutgoingEmail(msgspec.Struct, frozen=True, kw_only=True):
    """An e-mail to one person. `secret` is the code or the link; empty in a notice.

    It contains nothing that another person has chosen, such as a name: whoever signs up with someone else's address
    must not be able to send them a text.
    """

    to: str
    kind: EmailKind
    language: Language
    secret: str

    def __repr__(self) -> str:
        return f"OutgoingEmail(kind={self.kind!r}, language={self.language!r}, to='***', secret='***')"

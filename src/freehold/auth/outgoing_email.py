"""What auth writes to people. How it reads and how it travels is the mail adapter's."""

from typing import Literal

import msgspec

Language = Literal["en", "ar", "km"]

NoticeKind = Literal["address-changed", "password-changed"]
"""What tells of something that was done, and asks for nothing: there is no secret in it."""

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
    """One mail to one person. `secret` is the code or the link, and theirs alone; empty in a notice.

    It holds nothing that someone else has chosen, such as a name: a stranger who signs up with another's address
    must not be able to have that other read what the stranger wrote.
    """

    to: str
    kind: EmailKind
    language: Language
    secret: str

    def __repr__(self) -> str:
        return f"OutgoingEmail(kind={self.kind!r}, language={self.language!r}, to='***', secret='***')"

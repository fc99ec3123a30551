"""What a new password may not be: common, known from a breach, or a word that anybody would try here.

Passwords that are in use already go on working; nobody is refused at sign-in for what they chose once.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import urlsplit

from freehold.auth.common_passwords import is_common, plain_form, plain_forms
from freehold.auth.errors import PasswordCompromised, PasswordTooPredictable
from freehold.auth.passwords import MIN_LENGTH, check_new_password, length_of

_APP = "freehold"
_SHORTEST_WORD = 4
_WORD = re.compile(r"[^\W_]+")
_ENDS = re.compile(r"^[\W_]+|[\W_]+$")
_LOOKED_AT = 200  # characters of a name: it may be as long as a request


class BreachedPasswords(Protocol):
    """A collection of passwords from breaches, elsewhere."""

    async def knows(self, password: str) -> bool:
        """Whether the password is in it. Never raises, and takes a few seconds at most; False without an answer."""
        ...


@dataclass(frozen=True, slots=True)
class PasswordRules:
    """`words` are those of the service and its operator, as `words_of` gives them."""

    words: frozenset[str] = field(default=frozenset({_APP}))
    breached: BreachedPasswords | None = None

    async def check(self, password: str, *about: str) -> None:
        """Refuse a new password. `about` is what people know of its user: name and address.

        Raises:
            PasswordTooShort, PasswordTooLong: see `check_new_password`.
            PasswordTooPredictable: it is made of words that anybody would try here, or of the user's own.
            PasswordCompromised: it is common, or known from a breach.
        """
        check_new_password(password)
        rest = self._without_words(password, about)
        if rest is not None and (length_of(rest) < MIN_LENGTH or await is_common(rest)):
            raise PasswordTooPredictable(
                "choose a password without your name, your address, or the name of this app"
            )
        if await is_common(password):
            raise PasswordCompromised("this password is one of the most common ones; choose another")
        if self.breached is not None and await self.breached.knows(password):
            raise PasswordCompromised("this password is known from a breach; choose another")

    def _without_words(self, password: str, about: Iterable[str]) -> str | None:
        """What is left of it; None if it holds no such word, in whatever spelling."""
        words = sorted(self.words | words_of(*about), key=len, reverse=True)
        left = []
        for plain in plain_forms(password):
            rest = plain
            for word in words:
                rest = rest.replace(word, "")
            if rest != plain:
                left.append(_ENDS.sub("", rest))
        return min(left, key=len, default=None)


def words_of(*texts: str) -> frozenset[str]:
    """The words in names, addresses and hosts, if long enough to matter: each alone, and all of a text together."""
    found: set[str] = set()
    for text in texts:
        plain = plain_form(text[-_LOOKED_AT:])
        local, at, domain = plain.rpartition("@")
        # The end of a domain says little: `com`, `example`.
        parts = [local, *domain.split(".")[:-1]] if at else [plain]
        for part in parts:
            words = _WORD.findall(part)
            found.update(words)
            found.add("".join(words))
    return frozenset(word for word in found if len(word) >= _SHORTEST_WORD)


def words_of_service(url: str, *names: str) -> frozenset[str]:
    """The words of a service at this URL that has these names."""
    labels = (urlsplit(url).hostname or "").split(".")
    host = labels[:-1] if not labels[-1].isdecimal() else []
    return words_of(_APP, *host, *names)

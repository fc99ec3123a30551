"""Rejects new passwords that are common, known from a breach, or made of words that are easy to guess here.

Existing passwords are not checked: nobody is refused at sign-in because of a password chosen earlier.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import urlsplit

from freehold.auth.errors import PasswordCompromised, PasswordTooPredictable, PasswordTooShort
from freehold.auth.passwords.common import is_common
from freehold.auth.passwords.passwords import MIN_LENGTH, check_new_password, length_of
from freehold.auth.passwords.spellings import folded, readings, visible

_APP = "freehold"
_SHORTEST_WORD = 4
_WORD = re.compile(r"[^\W_]+")
_ENDS = re.compile(r"^[\W_]+|[\W_]+$")
_SEPARATOR, _NO_LETTER = re.compile(r"[\W_]"), re.compile(r"[\W\d_]")
_STRETCHED = 3  # the span of a word with separators between its letters, relative to its length
_READ = 256  # characters of a folded password that are checked; folding may make some characters many
_LOOKED_AT = 200  # characters of a name that are read: it may be as long as a request


class BreachedPasswords(Protocol):
    """An external collection of passwords from breaches."""

    async def knows(self, password: str) -> bool:
        """Whether the password is in it; False without an answer. Never raises, and takes a few seconds at most."""


@dataclass(frozen=True, slots=True)
class PasswordRules:
    """`words` are those of the service and its operator, as `words_of` returns them."""

    words: frozenset[str] = field(default=frozenset({_APP}))
    breached: BreachedPasswords | None = None

    async def check(self, password: str, *about: str) -> None:
        """Check a new password. `about` is what others know about the user: name and address.

        Raises:
            PasswordTooShort, PasswordTooLong: see `check_new_password`.
            PasswordTooPredictable: it consists of words of the service or of the user.
            PasswordCompromised: it is common, or known from a breach.
        """
        check_new_password(password)
        if length_of(visible(password)) < MIN_LENGTH:
            raise PasswordTooShort(f"a password has at least {MIN_LENGTH} visible characters")
        for rest in self._without_words(password, about):
            if length_of(rest) < MIN_LENGTH or await is_common(rest):
                raise PasswordTooPredictable
        if await is_common(password):
            raise PasswordCompromised("this password is one of the most common ones; choose another")
        if self.breached is not None and await self.breached.knows(password):
            raise PasswordCompromised("this password is known from a breach; choose another")

    def _without_words(self, password: str, about: Iterable[str]) -> set[str]:
        """What remains without these words, in any spelling and reversed; empty if the password contains none."""
        words = self.words | words_of(*about)
        both_ways = sorted(words | {word[::-1] for word in words}, key=len, reverse=True)
        left = set()
        for text in readings(folded(password)[:_READ]):
            for separators in (_SEPARATOR, _NO_LETTER):
                rest = text
                for word in both_ways:
                    rest = _without(rest, word, separators)
                if rest != text:
                    left.add(_ENDS.sub("", rest))
        return left


def _without(text: str, word: str, separators: re.Pattern[str]) -> str:
    """The text without a word, wherever it occurs, also with separators between its letters."""
    places = [n for n, letter in enumerate(text) if not separators.fullmatch(letter)]
    letters = "".join(text[n] for n in places)
    found = letters.rfind(word)
    while found >= 0:
        first, last = places[found], places[found + len(word) - 1]
        if last - first < _STRETCHED * len(word):
            text = text[:first] + text[last + 1 :]
        found = letters.rfind(word, 0, found)
    return text


def words_of(*texts: str) -> frozenset[str]:
    """The words in names, addresses and hosts, if long enough to matter: each alone, and all of a text joined."""
    found: set[str] = set()
    for text in texts:
        plain = folded(text[-_LOOKED_AT:])
        local, at, domain = plain.rpartition("@")
        # The end of a domain says little: `com`, `example`.
        parts = [local, *domain.split(".")[:-1]] if at else [plain]
        for part in parts:
            words = _WORD.findall(part)
            found.update(words)
            found.add("".join(words))
    return frozenset(word for word in found if len(word) >= _SHORTEST_WORD)


def words_of_service(url: str, *names: str) -> frozenset[str]:
    """The words of a service with this URL and these names; for an IP address, its runs of consecutive parts."""
    host = urlsplit(url).hostname or ""
    if ":" in host or host.rpartition(".")[2].isdecimal():
        parts = _WORD.findall(host)
        runs = ["".join(parts[start:end]) for end in range(len(parts) + 1) for start in range(end - 1)]
        return words_of(_APP, *runs, *names)
    labels = host.split(".")
    return words_of(_APP, *(labels[:-1] or labels), *names)

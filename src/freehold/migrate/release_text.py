"""The text under the signature of a release: the state of the registry, and the hash of each further part.

One value has exactly one text, and one text at most one value: see docs/decisions/0024-releases-with-parts.md.
"""

import re
from contextlib import suppress
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from freehold.errors import AppTooOld
from freehold.migrate.signature import RegistryTampered, is_text_signed

FORM: Final = "freehold-registry-v3"
# Counters from here on belong to releases that have this text. Both signatures cover the counter, so that nobody can
# remove the text unnoticed. Counters of the older form are times in milliseconds, about 2**41.
FIRST_COUNTER: Final = 2**52

MAX_PARTS: Final = 64
MAX_TEXT_BYTES: Final = 16_384
_MAX_NUMBER = 2**53
_MAX_VERSION = 9_999
_NO_CHAIN = "-"  # of a registry without migrations

_NAME = r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?"
_HASH = r"[0-9a-f]{64}"
_NUMBER = r"(?:0|[1-9][0-9]{0,15})"
# No `$`, which also matches before a line end, and no `\d` or `\w`, which match other scripts' characters.
_TEXT = re.compile(
    rf"{FORM}\n"
    rf"version (?P<version>{_NUMBER})\n"
    rf"chain (?P<chain>{_HASH}|{_NO_CHAIN})\n"
    rf"counter (?P<counter>{_NUMBER})\n"
    rf"expires (?P<expires>{_NUMBER})\n"
    rf"(?P<parts>(?:(?:must|part) {_NAME} {_HASH}\n)*)",
    re.ASCII,
)
_PART_NAME = re.compile(_NAME, re.ASCII)
_SHA256 = re.compile(_HASH, re.ASCII)


class ReleaseNotUnderstood(AppTooOld):
    """The release has a form, or a part that must be understood, that this SDK does not know."""

    code = "release_not_understood"
    remedy = "Update the app."
    where = "sdk"


class Part(Struct, frozen=True):
    """A further part of a release: its name, and the hex SHA-256 of its bytes.

    `must` says whether an SDK that does not know the part has to refuse the release.
    """

    name: str
    sha256: str
    must: bool = False


class ReleaseText(Struct, frozen=True, kw_only=True):
    """The content of the text. `chain` is empty at version 0; `expires_at_s` is in seconds since 1970."""

    version: int
    chain: str
    counter: int
    expires_at_s: int
    parts: tuple[Part, ...] = ()


def is_part_name(name: str) -> bool:
    """Whether a part may have this name."""
    return _PART_NAME.fullmatch(name) is not None


def encoded(release: ReleaseText) -> str:
    """The text of a release; its parts may come in any order. Raises `ValueError` if the release is not valid."""
    parts = sorted(release.parts, key=lambda part: part.name)
    _require_writable(release)
    return (
        f"{FORM}\nversion {release.version}\nchain {release.chain or _NO_CHAIN}\ncounter {release.counter}\n"
        f"expires {release.expires_at_s}\n"
        + "".join(f"{'must' if part.must else 'part'} {part.name} {part.sha256}\n" for part in parts)
    )


def parsed(text: str) -> ReleaseText:
    """The release in a text whose signature is valid.

    Raises:
        ReleaseNotUnderstood: the text has a later form.
        RegistryTampered: no release has exactly this text.
    """
    form = text.partition("\n")[0]
    if re.fullmatch(r"freehold-registry-v(?:[4-9]|[1-9][0-9]{1,3})", form, re.ASCII):
        raise ReleaseNotUnderstood(
            f"the registry is signed in the form {form}, which this app does not know: update the app"
        )
    match = _TEXT.fullmatch(text) if len(text) <= MAX_TEXT_BYTES else None
    if match is None:
        raise RegistryTampered("the signed text of the registry cannot be read")
    lines = match["parts"].splitlines()
    release = ReleaseText(
        version=int(match["version"]),
        chain="" if match["chain"] == _NO_CHAIN else match["chain"],
        counter=int(match["counter"]),
        expires_at_s=int(match["expires"]),
        parts=tuple(Part(name, sha256, kind == "must") for kind, name, sha256 in map(str.split, lines)),
    )
    with suppress(ValueError):
        if encoded(release) == text:
            return release
    raise RegistryTampered("the signed text of the registry is not written as it must be")


def proved(text: str, signature: str, public_key: str, stand: ReleaseText) -> tuple[Part, ...]:
    """The parts of a release whose text is signed by this key and agrees with `stand`, the state known without it.

    Raises:
        RegistryTampered: the signature is not the key's, or the text does not agree.
        ReleaseNotUnderstood: the text has a later form.
    """
    if not text.isascii() or not is_text_signed(text.encode(), signature, public_key):
        raise RegistryTampered(f"the signature over the text of version {stand.version} is not valid")
    release = parsed(text)
    if replace(release, parts=()) != replace(stand, parts=()):
        raise RegistryTampered("the signed text of the registry is of another release")
    return release.parts


def _require_writable(release: ReleaseText) -> None:
    names = {part.name for part in release.parts}
    if len(names) != len(release.parts) or len(names) > MAX_PARTS:
        raise ValueError(f"a release has at most {MAX_PARTS} parts, each with a name of its own")
    if not all(is_part_name(part.name) and _SHA256.fullmatch(part.sha256) for part in release.parts):
        raise ValueError("a part has a name of lower-case letters, digits, `.`, `_` and `-`, and a SHA-256")
    if not 0 <= release.version <= _MAX_VERSION or bool(release.version) != bool(release.chain):
        raise ValueError(f"a version is 0 to {_MAX_VERSION}, and only 0 has no chain")
    if release.chain and not _SHA256.fullmatch(release.chain):
        raise ValueError("a chain is a SHA-256 in hex")
    if not FIRST_COUNTER <= release.counter <= _MAX_NUMBER or not 0 <= release.expires_at_s <= _MAX_NUMBER:
        raise ValueError("the counter or the expiry is out of range")

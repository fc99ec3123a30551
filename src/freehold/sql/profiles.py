"""Which token profile a piece of SQL needs. It is judged by its text, so that every engine judges alike.

The schema belongs to the registry: under `rows` a token changes rows and nothing else. SQL that needs more passes only
as a batch that is exactly the registry's own (`migrate/history.py`), and only Freehold writes tables named
`freehold_*`, whatever the token's profile.
"""

import contextlib
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from freehold.errors import Forbidden
from freehold.lru import cached_if_short
from freehold.profiles import RANKS, Profile
from freehold.sql.guard import RefusedSql
from freehold.sql.inspection import in_our_words
from freehold.sql.pragmas import ABOUT, CHANGED, OF_ROWS, READ, is_switch
from freehold.sql.statements import READING, WRITING, keyword, verb_of_with, without_explain
from freehold.sql.tokens import Kind, Token, statements, tokens

OWN_PREFIX = "freehold_"

_TRANSACTION = frozenset({"begin", "commit", "end", "rollback", "savepoint", "release"})
# `EXPLAIN QUERY PLAN INSERT OR REPLACE INTO main.t`, and some more.
_MOST_BEFORE_NAME = 16
# Words between the verb and the name of the written table.
_BEFORE_NAME = frozenset({"or", "rollback", "abort", "replace", "fail", "ignore", "into", "from"})
# `CREATE VIRTUAL TABLE freehold`, or an index of that name, creates `freehold_…` tables beside it.
_BEFORE_NEW_NAME = frozenset({"table", "index", "exists", "to", "."})
# Most SQL is one statement that starts with its verb.
_PLAIN = re.compile(
    r"[ \t\n\r]*(?:select|values|(insert|replace|update|delete)|begin|commit|end|rollback)\b[^;]*+[; \t\n\r]*",
    re.ASCII | re.IGNORECASE,
)


class ProfileNeeded(Forbidden):
    """The profile of the database token is too narrow. At `/db/` it is `PROFILE_NEEDED`, see below."""

    code = "profile_needed"
    remedy = "Ask for a token with the profile that the message names."


class Need(NamedTuple):
    """The narrowest profile that may run some SQL, None if none may, and the words in it that decide."""

    profile: Profile | None
    words: str = ""


NOTHING_NEEDED = Need("read_only")
_needs: dict[str, Need] = {}
_SCHEMA_HINT = "the schema changes by the registry's migrations alone, each sent as one whole batch"


def wider(one: Need, other: Need) -> Need:
    """The wider of two needs; the first if they are equal."""
    return other if RANKS[other.profile] > RANKS[one.profile] else one


def covers(profile: Profile, need: Need) -> bool:
    """Whether a token of the profile may run SQL with this need."""
    return RANKS[need.profile] <= RANKS[profile]


def need_of(sql: str) -> Need:
    """What the text (one or more statements) needs."""
    return (_needs and _needs.get(sql)) or _need(sql)


@contextlib.contextmanager
def looked_at(needs: Mapping[str, Need]) -> Iterator[None]:
    """Inside this context `need_of` knows the needs of these texts, in all threads."""
    _needs.update(needs)
    try:
        yield
    finally:
        for sql in needs:
            _needs.pop(sql, None)  # another request with the same text judges it again


def is_beyond_rows(sql: str) -> bool:
    """Whether the text does more than read and write rows."""
    return RANKS[need_of(sql).profile] > RANKS["rows"]


def refusal(sql: str, profile: Profile) -> ProfileNeeded | RefusedSql | None:
    """Why a token of this profile may not run the text, or None."""
    need = need_of(sql)
    if covers(profile, need):
        return None
    if need.profile is None:
        return RefusedSql(
            f"`{need.words}` is not allowed: names that start with `{OWN_PREFIX}` are Freehold's own, "
            "and no token profile allows writing there"
        )
    if profile == "read_only":
        return ProfileNeeded(f"the token allows reading only; {need.words} needs one with the profile `{need.profile}`")
    hint = f"; {_SCHEMA_HINT}" if need.profile == "full" else ""
    return ProfileNeeded(
        f"{need.words or 'this'} needs a token with the profile `{need.profile}`, and this one has `{profile}`{hint}"
    )


def reading_only() -> ProfileNeeded:
    """The refusal of a write that only the engine detected, with a read-only token."""
    return ProfileNeeded("the token allows reading only; writing needs one with the profile `rows`")


def opens_nothing() -> ProfileNeeded:
    """The refusal of a token of the profile `none`."""
    return ProfileNeeded(
        "the token opens nothing, its profile is `none`; reading needs `read_only`, writing rows `rows`, "
        "and changing the schema `full`"
    )


@cached_if_short(2048)
def _need(sql: str) -> Need:
    plain = _PLAIN.fullmatch(sql)
    if plain is not None:
        if plain[1] is None:
            return NOTHING_NEEDED
        if OWN_PREFIX not in sql.lower():
            return Need("rows", plain[1].upper())
    needs = map(_need_of, statements(in_our_words(sql)))
    return max(needs, key=lambda need: RANKS[need.profile], default=NOTHING_NEEDED)


def _need_of(statement: str) -> Need:
    """What one statement, or one part of a trigger, needs: each is judged on its own."""
    words = list(itertools.islice(tokens(statement), _MOST_BEFORE_NAME))
    if not words:
        return NOTHING_NEEDED
    about = without_explain(words)
    verb = keyword(about[0]) if about else ""
    if verb == "with":
        rest = itertools.islice(tokens(statement), len(words) - len(about) + 1, None)
        if (main := verb_of_with(rest)) is None:
            return Need("full", "WITH")
        about, verb = [main, *itertools.islice(rest, _MOST_BEFORE_NAME)], main.text
    if verb in READING or verb in _TRANSACTION:
        return NOTHING_NEEDED
    if verb in WRITING:
        name = _written(about[1:])
        return Need(None, name) if name.startswith(OWN_PREFIX) else Need("rows", verb.upper())
    if verb == "pragma":
        return _need_of_pragma(about[1:])
    return _need_of_schema(statement, about)


def _written(words: Sequence[Token]) -> str:
    """The name of the written table, in lower case; `words` follow the verb."""
    at = 0
    while at < len(words) and keyword(words[at]) in _BEFORE_NAME:
        at += 1
    if at + 2 < len(words) and words[at + 1].text == ".":
        at += 2
    return words[at].text.lower() if at < len(words) else ""


def _need_of_pragma(words: Sequence[Token]) -> Need:
    texts = [word.text.lower() for word in words]
    if texts[1:2] == ["."]:
        del texts[:2]
    name = texts[0] if texts else ""
    is_reading = name in ABOUT or name in READ or (name in CHANGED and len(texts) == 1)
    if is_reading or is_switch(texts):
        return NOTHING_NEEDED
    return Need("rows" if name in OF_ROWS else "full", f"PRAGMA {name}")


def _need_of_schema(statement: str, words: Sequence[Token]) -> Need:
    verbs = [*map(keyword, words[:2])]
    if OWN_PREFIX[:-1] in statement.lower():
        makes_tables_beside = verbs[:1] == ["alter"] or (verbs[:1] == ["create"] and "table" not in verbs)
        before = ""
        for kind, text in tokens(statement):
            name = text.lower()
            if kind in {Kind.WORD, Kind.QUOTED, Kind.STRING} and (
                name.startswith(OWN_PREFIX)
                or (makes_tables_beside and name == OWN_PREFIX[:-1] and before in _BEFORE_NEW_NAME)
            ):
                return Need(None, name[:80])
            before = name
    return Need("full", " ".join(verb.upper() for verb in verbs if verb)[:40] or "this")

"""Group tenants that were not migrated by cause, using their recorded errors."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from freehold.rollouts.types import Failure

OTHER = "other"

_EXAMPLES = 3
_MOST_GROUPS = 200
# If one word has more variants than this, the messages are one cause that names many things, not many causes.
_VARIANTS = 8
_SELDOM = 1_000
# Only a few simple patterns are compared with every message: a user could choose words that make this slow.
_FORMS = 10
_GAPS = 2
_ANY = "…"

# The place in the migrations is part of the cause: these numbers are not the tenant's own.
_PLACE = re.compile(r"migration \d+ \([^)]*\)(?:, statement \d+, line \d+)?|version \d+")
_OWN = re.compile(
    r"t-[a-z2-7]{26}"  # a database's name
    r"|(?<!\w)'[^']*'|(?<!\w)\"[^\"]*\""
    r"|(?<![\w.])[-+]?\d[\d.]*(?:e[-+]?\d+)?(?!\w)"
)


_Kind = tuple[str, str]  # the code, and the place in the migrations
_Key = tuple[_Kind, tuple[str, ...]]  # and the words of the message


@dataclass(slots=True)
class _Group:
    cause: str
    error: str
    tenants: int = 0
    examples: list[str] = field(default_factory=list)

    def take(self, tenants: int, examples: Sequence[str]) -> None:
        self.tenants += tenants
        self.examples += examples[: _EXAMPLES - len(self.examples)]


class Causes:
    """Groups of similar causes, limited in number however many tenants and messages there are.

    Messages are similar if they differ in numbers, quoted values and database names, or in words where there are many
    variants, such as names that tenants chose themselves.
    """

    def __init__(self) -> None:
        self._groups: dict[_Key, _Group] = {}
        self._open: dict[tuple[_Kind, int], set[int]] = {}  # positions in messages of one length where any word may be
        self._rest = _Group(OTHER, "more causes than can be told apart")

    def add(self, cause: str, error: str, tenant_id: str) -> None:
        """Count a tenant."""
        where, words = _parts(error)
        key = self._opened(((cause, where), words))
        group = self._groups.get(key)
        if group is None and len(self._groups) >= _MOST_GROUPS:
            if self._rest.tenants % _SELDOM == 0:  # rarely, because it goes through all groups
                self._gather()
                key = self._opened(key)
            group = self._groups.get(key)
            if group is None and len(self._groups) >= _MOST_GROUPS:
                group = self._rest
        if group is None:
            group = self._groups[key] = _Group(cause, error)
        group.take(1, [tenant_id])

    def most_first(self, limit: int) -> list[Failure]:
        """Return the groups, largest first; the last of `limit` combines all others."""
        self._gather()
        groups = sorted(_folded(self._groups), key=lambda each: -each.tenants)
        rest = self._rest
        for group in groups[limit - 1 :] if len(groups) > limit or rest.tenants else ():
            rest.take(group.tenants, group.examples)
        shown = [*groups[: limit - 1], rest] if rest.tenants else groups
        return [
            Failure(cause=each.cause, tenants=each.tenants, error=each.error, examples=tuple(each.examples))
            for each in shown
        ]

    def _opened(self, key: _Key) -> _Key:
        kind, words = key
        places = self._open.get((kind, len(words)))
        if not places:
            return key
        return kind, tuple(_ANY if at in places else word for at, word in enumerate(words))

    def _gather(self) -> None:
        """Merge groups that differ only where there are many different words."""
        words_at: dict[tuple[_Kind, int], dict[int, set[str]]] = {}
        for kind, words in self._groups:
            columns = words_at.setdefault((kind, len(words)), {})
            for at, word in enumerate(words):
                columns.setdefault(at, set()).add(word)
        for form, columns in words_at.items():
            many = (at for at, words in columns.items() if len(words) > _VARIANTS)
            self._open.setdefault(form, set()).update(many)
        groups, self._groups = self._groups, {}
        for key, group in groups.items():
            found = self._groups.setdefault(self._opened(key), group)
            if found is not group:
                found.take(group.tenants, group.examples)


def _folded(groups: dict[_Key, _Group]) -> Iterator[_Group]:
    """Merge groups that differ only in the number of words in a tenant's own name."""
    found: dict[_Key, _Group] = {}
    for (kind, words), group in groups.items():
        folded = tuple(word for at, word in enumerate(words) if word != _ANY or words[at - 1 : at] != (_ANY,))
        same = found.setdefault((kind, folded), group)
        if same is not group:
            same.take(group.tenants, group.examples)
    smallest_first = sorted(found.items(), key=lambda each: each[1].tenants)
    forms = [
        (kind, re.compile(" ".join(".+" if word == _ANY else re.escape(word) for word in words)), group)
        for (kind, words), group in reversed(smallest_first)
        if 0 < words.count(_ANY) <= _GAPS < len(words) - words.count(_ANY) and group.tenants > _VARIANTS
    ][:_FORMS]
    for (kind, words), group in smallest_first:
        text = " ".join(words)
        for of, form, larger in forms:
            if of == kind and larger.tenants > group.tenants and form.fullmatch(text):
                larger.take(group.tenants, group.examples)
                break
        else:
            yield group


def _parts(error: str) -> tuple[str, tuple[str, ...]]:
    """Return the place in the migrations, and the other words without what may be each tenant's own."""
    where = " ".join(each.group() for each in _PLACE.finditer(error))
    return where, tuple(_OWN.sub(_ANY, _PLACE.sub("", error)).split())

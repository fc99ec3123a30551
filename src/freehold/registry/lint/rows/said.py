"""What a statement that changes rows says of them: in which table, which columns, and where rows may go."""

from collections.abc import Sequence, Set

from msgspec import Struct

from freehold.migrate.canonical import closing, unwrapped
from freehold.migrate.schema import Schema

_VERBS = ("insert", "replace", "update", "delete")
_TAKING = {"delete", "replace"}


class Said(Struct, frozen=True):
    """`verb` is what it does to `table`, in lower case. `columns` are those that an INSERT names, None for all.

    `replaces`: rows that stand in the way are deleted, with all that hangs on them.
    """

    verb: str
    table: str
    columns: frozenset[str] | None = None
    replaces: bool = False


def said(words: Sequence[str]) -> Said:
    """What the canonical words of a statement say; also behind WITH."""
    depth = 0
    for at, word in enumerate(words):
        depth += (word == "(") - (word == ")")
        if not depth and word in _VERBS:
            return _said(word, words[at + 1 :])
    return Said("", "")


def _said(verb: str, rest: Sequence[str]) -> Said:
    replaces = verb == "replace" or tuple(rest[:2]) == ("or", "replace")
    at = 2 if rest[:1] == ("or",) else 0
    at += rest[at : at + 1] in (("into",), ("from",))
    at += 2 if rest[at + 1 : at + 2] == (".",) else 0
    table = unwrapped(rest[at]) if at < len(rest) else ""
    columns = None
    if verb in ("insert", "replace") and rest[at + 1 : at + 2] == ("(",):
        columns = frozenset(map(unwrapped, rest[at + 2 : closing(rest, at + 1)]))
    return Said(verb, table, columns, replaces)


def may_shrink(one: Said, owner: str | None, schema: Schema) -> Set[str]:
    """The tables from which rows may go by such a statement about `owner`: what a DELETE says, and what was usual.

    A trigger or a cascade that was there before deletes for every app as well; one that is new does for nobody.
    """
    if one.verb == "delete" and owner is None:  # a view, or a table that the migration made
        return schema.tables.keys()
    gone = {owner} if one.verb == "delete" and owner else set()
    reached = {owner} if owner else set()
    count = -1
    while count != len(gone) + len(reached):
        count = len(gone) + len(reached)
        for trigger in schema.triggers.values():
            if trigger.table in reached:
                words = {unwrapped(word) for word in trigger.shape}
                named = words & schema.tables.keys()
                reached |= named
                gone |= named if words & _TAKING else set()
        gone |= {
            name for name, table in schema.tables.items() if gone & {key.parent for key in table.foreign_keys}
        }
        reached |= gone
    return gone

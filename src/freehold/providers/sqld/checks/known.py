"""The facts about a text that every check before sqld needs at each call, found out once."""

import re
from collections.abc import Iterable
from typing import NamedTuple

from freehold.lru import cached_if_short
from freehold.providers.sqld.checks.sizes import check_sizes, may_be_unstoppable, searches
from freehold.sql.guard import RefusedSql, check_sql, may_change_schema, writes_shadow
from freehold.sql.inspection import in_our_words
from freehold.sql.profiles import NOTHING_NEEDED, Need, need_of

CHANGES, SHADOWS, BEGINS, SEARCHES, UNSTOPPABLE = 1, 2, 4, 8, 16
_BEGINS = re.compile("begin|savepoint", re.IGNORECASE)


class Known(NamedTuple):
    """Of one text. `hints` say what it may do: change the schema, write a table like those of indexes, begin a
    transaction, search vectors, call functions that nothing interrupts. `instead` is what the engine gets in its
    place, if anything. Of a text with a `fault` nothing else is known.
    """

    fault: str | None
    hints: int = 0
    need: Need = NOTHING_NEEDED
    instead: str | None = None


def hints_of(texts: Iterable[str]) -> int:
    """The hints of all these texts, which are inside the rules."""
    hints = 0
    for sql in texts:
        hints |= known_of(sql).hints
    return hints


@cached_if_short(4096)
def known_of(sql: str) -> Known:
    """The facts about the text. Blocks for long texts."""
    try:
        check_sql(sql)
        check_sizes(sql)
    except RefusedSql as error:
        return Known(str(error))
    hints = (
        may_change_schema(sql) * CHANGES
        | writes_shadow(sql) * SHADOWS
        | (_BEGINS.search(sql) is not None) * BEGINS
        | searches(sql) * SEARCHES
        | may_be_unstoppable(sql) * UNSTOPPABLE
    )
    instead = in_our_words(sql)
    return Known(None, hints, need_of(sql), None if instead == sql else instead)

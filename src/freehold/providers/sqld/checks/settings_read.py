"""For tokens for reading: sqld takes most PRAGMAs for writes, and their table functions for reads; and it gives the
write lock to whoever asks for it as a transaction begins.
"""

import functools
import re
from collections.abc import Sequence

from freehold.providers.texts import Body, with_texts
from freehold.sql.pragmas import PRAGMAS, is_switch
from freehold.sql.tokens import tokens


def as_reads(request: Body, texts: Sequence[str]) -> Body:
    """The request, whose SQL is `texts`, with SELECTs in the place of PRAGMAs that may be read, and BEGIN without a
    lock."""
    instead = {sql: other for sql in texts if _HINT.search(sql, 0, _SHORT) and (other := _read(sql))}
    return with_texts(request, instead) if instead else request


_SHORT = 200
_HINT = re.compile("pragma|begin", re.IGNORECASE)
_LOCKING = frozenset({"immediate", "exclusive"})


@functools.lru_cache(maxsize=512)
def _read(sql: str) -> str | None:
    if len(sql) > _SHORT:
        return None
    words = [word.text.lower() for word in tokens(sql)]
    while words and words[-1] == ";":
        words.pop()
    if words[:1] == ["begin"] and words[1:2] and words[1] in _LOCKING and words[2:] in ([], ["transaction"]):
        return "BEGIN"
    if words[:1] != ["pragma"] or ";" in words:
        return None
    words = words[3:] if words[2:3] == ["."] else words[1:]
    name = words[0] if words else ""
    if len(words) == 1 and name in PRAGMAS:
        return f"SELECT * FROM pragma_{name}"
    # Nothing is written with this token, so there is nothing to enforce.
    if is_switch(words):
        return f"SELECT {name} FROM pragma_{name} WHERE false"
    return None

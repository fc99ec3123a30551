"""PRAGMAs that only read, for tokens for reading: sqld takes most for writes, and their table functions for reads."""

import functools
from collections.abc import Sequence

from freehold.libsql.pragmas import PRAGMAS, is_switch
from freehold.libsql.tokens import tokens
from freehold.providers.texts import Body, with_texts


def as_reads(request: Body, texts: Sequence[str]) -> Body:
    """The request, whose SQL is `texts`, with SELECTs in the place of such PRAGMAs. All have passed the guard."""
    instead = {sql: other for sql in texts if "pragma" in sql[:_SHORT].lower() and (other := _read(sql))}
    return with_texts(request, instead) if instead else request


_SHORT = 200


@functools.lru_cache(maxsize=512)
def _read(sql: str) -> str | None:
    if len(sql) > _SHORT:
        return None
    words = [word.text.lower() for word in tokens(sql)]
    while words and words[-1] == ";":
        words.pop()
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

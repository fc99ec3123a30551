"""Which of the languages that we write in a reader likes best. Source: RFC 9110, section 12.5.4."""

import re
from typing import get_args

from litestar.types import Scope

from freehold.auth.outgoing_email import Language
from freehold.http.headers import header

_LANGUAGES: dict[str, Language] = {language: language for language in get_args(Language)}
_RANGE = re.compile(r"\s*([A-Za-z]{1,8}|\*)(?:-[A-Za-z0-9-]{1,40})?\s*(?:;\s*q=([01](?:\.\d{0,3})?)\s*)?")
_MAX_RANGES = 20


def language_of(scope: Scope) -> Language:
    """English, when none of ours is asked for or the header cannot be read."""
    best: Language = "en"
    best_weight = 0.0
    for part in (header(scope, b"accept-language") or "").split(",")[:_MAX_RANGES]:
        found = _RANGE.fullmatch(part)
        if found is None:
            continue
        weight = float(found[2] or 1)
        # Of two that weigh the same the first counts. `*` is whatever we like: English.
        language = "en" if found[1] == "*" else found[1].lower()
        if language in _LANGUAGES and weight > best_weight:
            best, best_weight = _LANGUAGES[language], weight
    return best

"""Passwords that many people have: guessed first, so nobody may choose one.

`common_passwords.txt.xz` holds some 45,000 of six characters and more, in lower case; those of fewer than eight are
what longer ones are made of. It is put together from the lists of zxcvbn and zxcvbn-ts (MIT licence, Dan Wheeler,
Dropbox, Daniel Wolf, the zxcvbn-ts authors) and of Django (BSD licence, Django Software Foundation), which count how
often passwords occur in published breaches. Dates, rows of keys and repetitions are not in it, but found by rule.
With these it has each of the 10,000 most common passwords that are long enough.
"""

import asyncio
import lzma
import re
import unicodedata
from datetime import datetime
from functools import cache
from importlib.resources import files

_LEET = str.maketrans("@4310$57!", "aaeiossti")
_ROWS = (
    "abcdefghijklmnopqrstuvwxyz",
    "qwertyuiop",
    "asdfghjkl",
    "zxcvbnm",
    "01234567890",
    "qazwsxedcrfvtgbyhnujmikolp",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik9ol0p",
    "q1w2e3r4t5y6u7i8o9p0",
)
_REPETITION = re.compile(r"([a-z0-9]{1,4}?)\1+")
_ENDING = re.compile(r"[\W\d_]{1,4}$")
_SHORTEST = 6  # word that may have an ending
_LONGEST = 40  # of what is in the list, with an ending or twice
_LONGEST_REPETITION = 16
_DATES = ("%d%m%Y", "%m%d%Y", "%Y%m%d")


async def is_common(password: str) -> bool:
    """Whether it is one, in whatever case, with digits for letters, with a short ending, or twice.

    The list is read when it is first needed, in a thread.
    """
    if len(password) > _LONGEST:
        return False
    if _read.cache_info().currsize == 0:
        await asyncio.to_thread(_read)
    return any(_is_known(form, _read()) for form in plain_forms(password))


def plain_form(text: str) -> str:
    """Without what tells spellings of the same word apart: case, and forms of the same letter."""
    return unicodedata.normalize("NFKC", text).casefold()


def plain_forms(password: str) -> set[str]:
    """That, and the same with letters for the digits and signs that stand for them."""
    plain = plain_form(password)
    return {plain, plain.translate(_LEET)}


def _is_known(text: str, common: frozenset[str]) -> bool:
    if text in common or _is_row(text) or _is_date(text) or _is_repetition(text):
        return True
    word = _ENDING.sub("", text)
    if word != text and len(word) >= _SHORTEST and word in common:
        return True
    half = text[: len(text) // 2]
    return half * 2 == text and half in common


def _is_row(text: str) -> bool:
    return any(text in row or text in row[::-1] for row in _ROWS) and bool(text)


def _is_repetition(text: str) -> bool:
    return len(text) <= _LONGEST_REPETITION and _REPETITION.fullmatch(text) is not None


def _is_date(text: str) -> bool:
    if len(text) != 8 or not text.isdecimal():
        return False
    return any(_is_year(text, form) for form in _DATES)


def _is_year(text: str, form: str) -> bool:
    try:
        return 1900 <= datetime.strptime(text, form).year < 2100  # noqa: DTZ007 - a day, and no moment
    except ValueError:
        return False


@cache
def _read() -> frozenset[str]:
    packed = files("freehold.auth").joinpath("common_passwords.txt.xz").read_bytes()
    return frozenset(lzma.decompress(packed).decode().splitlines())

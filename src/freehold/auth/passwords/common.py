"""Common passwords, which are guessed first and therefore not allowed.

`common_passwords.txt.xz` holds some 45,000 of six characters and more, in lower case; those of fewer than eight are
bases of longer ones. It was made from the lists of zxcvbn and zxcvbn-ts (MIT licence, Dan Wheeler, Dropbox, Daniel
Wolf, the zxcvbn-ts authors) and of Django (BSD licence, Django Software Foundation), which count how often passwords
occur in published breaches. Dates, rows of keys and repetitions are not listed but found by rules. Together they cover
each of the 10,000 most common passwords that are long enough.
"""

import asyncio
import lzma
import re
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import cache
from importlib.resources import files
from itertools import accumulate

from freehold.auth.passwords.spellings import folded, readings

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
_BOTH_WAYS = (*_ROWS, *(row[::-1] for row in _ROWS))
_SIGNS = "!@#$%^&*()_+"  # the row of digits with the shift key
_REPETITION = re.compile(r"([!-~]{1,4}?)\1+")
_BEFORE, _AFTER = re.compile(r"^[\W\d_]+"), re.compile(r"[\W\d_]+$")
_SIGNS_BEFORE, _SIGNS_AFTER = re.compile(r"^[\W_]+"), re.compile(r"[\W_]+$")
_SEPARATORS = re.compile(r"[\W_]+")
_BETWEEN_WORDS = re.compile(r"[\s._-]")
_NO_LETTERS = re.compile(r"[\W\d_]+")
_SHORTEST = 6  # of a word that may have digits and signs around it
_LONGEST = 160  # of a password that is checked: some characters become many when folded
_LONGEST_REPETITION = 16
_SHORTEST_PIECE = 3  # of a row of keys
_A_FEW = 4  # digits or signs that do not make a common password another one
_DATES = ("%d%m%Y", "%m%d%Y", "%Y%m%d")


class _Words:
    """Words as one text, found by bisection: a set of as many strings takes 4 MB more in each process."""

    def __init__(self, words: Iterable[str]) -> None:
        ordered = sorted(words)
        self._text = "".join(ordered)
        self._starts = array("I", accumulate(map(len, ordered), initial=0))

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __iter__(self) -> Iterator[str]:
        return map(self._at, range(len(self)))

    def __contains__(self, word: str) -> bool:
        at = bisect_left(range(len(self)), word, key=self._at)
        return at < len(self) and self._at(at) == word

    def _at(self, number: int) -> str:
        return self._text[self._starts[number] : self._starts[number + 1]]


async def is_common(password: str) -> bool:
    """Whether it is a common password, or a simple variation of one.

    Variations are other spellings (see `spellings`), reversal, repetition, separators, and a few digits and signs
    around or inside. The list is read on first use, in a thread.
    """
    plain = folded(password)
    if len(plain) > _LONGEST:
        return False
    if _read.cache_info().currsize == 0:
        await asyncio.to_thread(_read)
    common = _read()
    if _is_plain(plain, common):
        return True
    return any(
        _is_known(word, common) for core in _cores(plain, common) for word in _words(core, is_whole=core == plain)
    )


def _cores(plain: str, common: _Words) -> Iterator[str]:
    """The text, with and without the digits and signs at its ends that are too weak to matter."""
    # Digits around digits make a different number.
    at_start, at_end = (_SIGNS_BEFORE, _SIGNS_AFTER) if _BEFORE.fullmatch(plain) else (_BEFORE, _AFTER)
    before = len(plain) - len(at_start.sub("", plain))
    after = len(plain) - len(at_end.sub("", plain))
    starts = [n for n in _lengths(before) if _is_weak(plain[:n], common)]
    ends = [n for n in _lengths(after) if _is_weak(plain[len(plain) - n :], common)]
    for start in starts:
        for end in ends:
            if len(plain) - start - end >= _SHORTEST:
                yield plain[start : len(plain) - end]


def _lengths(most: int) -> set[int]:
    return {*range(min(most, _A_FEW) + 1), most}


def _is_weak(around: str, common: _Words) -> bool:
    digits = sum(map(str.isdecimal, around))
    return (
        max(digits, len(around) - digits) <= _A_FEW or _is_plain(around, common) or _is_of_rows(_joined(around) or " ")
    )


def _words(core: str, *, is_whole: bool) -> Iterator[str]:
    """The words that the text may stand for, without separators; and without a few digits in between.

    Two words and a number, as in `new-password-22`, are more than a common password.
    """
    if not is_whole and _BETWEEN_WORDS.search(core):
        return
    for text in readings(core):
        if word := _joined(text):
            yield word
            letters = _NO_LETTERS.sub("", word)
            if len(word) - len(letters) <= _A_FEW and word[0].isalpha() and word[-1].isalpha():
                yield letters


def _joined(text: str) -> str:
    """The text without separators between its letters and digits; empty if it begins or ends with one."""
    has_ends = text[:1].isalnum() and text[-1:].isalnum()
    return _SEPARATORS.sub("", text) if has_ends else ""


def _is_plain(text: str, common: _Words) -> bool:
    """Whether it is common as it is, without other readings."""
    is_repetition = len(text) <= _LONGEST_REPETITION and _REPETITION.fullmatch(text) is not None
    is_row = len(text) >= _SHORTEST and (text in _SIGNS or text[::-1] in _SIGNS)
    return text in common or is_repetition or is_row or _is_known(_joined(text), common)


def _is_known(word: str, common: _Words) -> bool:
    if len(word) < _SHORTEST:
        return False
    once = word[: (word + word).find(word, 1)]
    return (
        any(each in common for each in (word, word[::-1], once, once[::-1]))
        or _is_date(word)
        or _is_date(once)
        or _is_of_rows(word)
        or (len(word) <= _LONGEST_REPETITION and len(once) <= _A_FEW and once != word)
    )


def _is_of_rows(word: str) -> bool:
    """Whether it consists of pieces of keyboard rows: `asdfqwer`, `1234qwer`."""
    reached = {0}
    for start in range(len(word)):
        if start in reached:
            for end in range(start + _SHORTEST_PIECE, len(word) + 1):
                if not any(word[start:end] in row for row in _BOTH_WAYS):
                    break
                reached.add(end)
    return len(word) in reached


def _is_date(text: str) -> bool:
    if len(text) != 8 or not text.isdecimal():
        return False
    return any(_is_year(text, form) for form in _DATES)


def _is_year(text: str, form: str) -> bool:
    try:
        return 1900 <= datetime.strptime(text, form).year < 2100  # noqa: DTZ007 - a date, not a point in time
    except ValueError:
        return False


@cache
def _read() -> _Words:
    packed = files("freehold.auth.passwords").joinpath("common_passwords.txt.xz").read_bytes()
    return _Words(lzma.decompress(packed).decode().splitlines())

"""Spellings that a reader, or a program that guesses, treats as the same word.

Used only to compare passwords with words that they must not contain; nothing here is stored or hashed.
"""

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache

# Unicode's Default_Ignorable_Code_Point, control characters, and the Braille blank.
_INVISIBLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_MARKS = {"Mn", "Me"}
# `LATIN SMALL LETTER O WITH STROKE`, `NEGATIVE SQUARED LATIN CAPITAL LETTER P`, `LATIN LETTER SMALL CAPITAL A`
_LATIN = re.compile(
    r"(?:LATIN|REGIONAL INDICATOR SYMBOL)(?: SMALL| CAPITAL)? LETTER"
    r"(?: SMALL CAPITAL| SCRIPT| OPEN| CLOSED| DOTLESS| BARRED| LONG| INSULAR| SMALL| TURNED| REVERSED| SIDEWAYS)*"
    r" ([A-Z]{1,2})(?: WITH .*)?"
)
_LOOK_ALIKES = (
    # Greek and Cyrillic in both cases, because a letter may look different in each; Armenian, Cherokee.
    ("ΑΒΕΖΗΙΚΜΝΟΡΤΥΧϹϳαβγεηικνορςτυχωϲϱ", "abezhikmnoptyxcjabyenikvopctuxwcp"),
    ("АВЕЗКМНОРСТУХЅІЈҮԌԚԜӀҺԀабвгезикмнопрстухѕіјүԍԛԝӏһԁьҽѡ", "abe3kmhopctyxsijygqwlhdabbre3ukmhonpctyxsijygqwlhdbew"),
    ("ԱՍՏՕՑազհոսցքօյՅ", "usuogaqhnugpojj"),
    ("ɑɩðþ", "aidp"),
    ("ᎠᎡᎢᎪᎫᎬᎳᎷᎻᎾᏀᏃᏂᏎᏏᏒᏔᏕᏙᏚᏞᏟᏢᏦᏧᏴᏩᏳ", "drtajewmhogzh4brwsvslcpkdb6g"),
)
_ALIKE = {letter: plain for letters, plains in _LOOK_ALIKES for letter, plain in zip(letters, plains, strict=True)}
_SIGNS = "@4€3($5£0°+79862"
_MEANT = "aaeecssloottgbgz"
_LEET = tuple(str.maketrans(f"{_SIGNS}1!|¡", _MEANT + stroke * 4) for stroke in "il")


def folded(text: str) -> str:
    """The text without case, accents and invisible characters, and with Latin letters for those that look like them.

    Spaces and signs stay; other letters stay too, without their marks.
    """
    plain = _without_marks(unicodedata.normalize("NFKC", visible(text)))
    # Again, because lower-casing adds marks of its own (`İ`).
    lower = _without_marks("".join(map(_plain_letter, plain)).casefold())
    return unicodedata.normalize("NFC", lower)


def visible(text: str) -> str:
    """The text without characters that are not drawn."""
    return _INVISIBLE.sub("", text)


def readings(plain: str) -> Iterator[str]:
    """A folded text, and its readings with letters for the digits and signs that resemble them; all of equal length."""
    yield plain
    for table in _LEET:
        if (read := plain.translate(table)) != plain:
            yield read


def _without_marks(text: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFKD", text) if unicodedata.category(c) not in _MARKS)


@lru_cache(4096)
def _plain_letter(letter: str) -> str:
    if letter.isascii():
        return letter
    if (alike := _ALIKE.get(letter)) is not None:
        return alike
    if (digit := unicodedata.digit(letter, None)) is not None:
        return str(digit)
    name = unicodedata.name(letter, "")
    found = _LATIN.search(name)
    return found[1].lower() if found and found.end() == len(name) else letter

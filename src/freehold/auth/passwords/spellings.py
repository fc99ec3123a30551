"""Spellings of the same word: what a reader, or a program that guesses, takes for one and the same.

Only for comparing what people choose with words that they should not choose; nothing here is stored or hashed.
"""

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache

# Unicode's Default_Ignorable_Code_Point, control characters, and the blank of Braille.
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
    # Greek and Cyrillic in both cases, for a letter may look like different ones in each; Armenian, Cherokee.
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
    """Without what tells spellings apart: case, accents, invisible characters, letters that look like Latin ones.

    Spaces and signs stay, and so do letters that look like no Latin ones, without their marks.
    """
    plain = _without_marks(unicodedata.normalize("NFKC", visible(text)))
    # Once more afterwards, for lower case brings marks of its own (`İ`).
    lower = _without_marks("".join(map(_plain_letter, plain)).casefold())
    return unicodedata.normalize("NFC", lower)


def visible(text: str) -> str:
    """Without the characters that are drawn as nothing at all."""
    return _INVISIBLE.sub("", text)


def readings(plain: str) -> Iterator[str]:
    """A folded text as it stands, and with letters for the digits and signs that stand for them, of equal length."""
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

"""Which new passwords are refused, and that others are not."""

import random
import string
import time
from collections.abc import Callable
from uuid import UUID

import pytest

from freehold.auth.errors import PasswordCompromised, PasswordTooLong, PasswordTooPredictable, PasswordTooShort
from freehold.auth.passwords.common import _read, is_common
from freehold.auth.passwords.rules import PasswordRules, words_of, words_of_service

ADA = ("Ada Lovelace", "ada.byron@analytical.example.com")


async def outcome(password: str, *about: str, rules: PasswordRules | None = None) -> str:
    try:
        await (rules or PasswordRules()).check(password, *about)
    except (PasswordTooShort, PasswordTooLong, PasswordCompromised, PasswordTooPredictable) as error:
        return error.code
    return "taken"


COMMON = [
    *(
        "password",
        "12345678",
        "password123",
        "!@#$%^&*",
        ")(*&^%$#@",
        "iloveyou1",
        "qwerty123",
        "football",
        "trustno1",
        "sunshine",
    ),
    *("Password", "PASSWORD123", "iLoveYou", "ｐａｓｓｗｏｒｄ"),  # case, and other forms of the same letters
    *("p@ssw0rd", "P@$$w0rd", "1l0v3y0u"),  # digits and signs for letters
    *("password!", "password2026", "Sunshine99!", "michael-1"),  # an ending
    *("passwordpassword", "dragondragon"),  # twice
    *("qwertyuiop", "poiuytrewq", "lkjhgfds", "1qaz2wsx", "abcdefgh", "87654321"),  # rows of keys
    *("01022010", "24121985", "19851224", "12241985"),  # days
    *("aaaaaaaa", "abcabcabc", "121212121212", "........", "!?!?!?!?"),  # repetitions
    # Something before it, around it, within it
    *("!password", "2026password", " password", "  kettle  ", "password!!!!!!!!", "(password)", "!!sunshine2026!!"),
    *("P@$$W0RD2026!!", "!$unshine", "123456password", "iloveyou❤", "password😀", "!12345678!", "12345monkey!"),
    *("pass word", "p a s s w o r d", "pass_word_123", "pass1word", "p.a-s/s w.o-r/d", "12 34 56 78", "01.02.2010"),
    *("password.password", "Dragon-Dragon-Dragon", "1password2password", "sunshine7sunshine7"),
    *("drowssap", "enihsnus1", "asdfzxcv", "qwer-1234"),
    # Accents, strokes, and letters that only look like Latin ones
    *("pässword", "pa\u0308ssword", "p\u0336a\u0336s\u0336s\u0336w\u0336o\u0336r\u0336d", "ıloveyou", "İloveyou"),
    *("p\u0430ssw\u043erd", "\u0440\u0430ssw\u043erd", "\u0420ASSWORD", "\u03a1ass\u03c9ord", "\u13e2assword"),
    *("ᴘᴀꜱꜱᴡᴏʀᴅ", "𝐩𝐚𝐬𝐬𝐰𝐨𝐫𝐝", "🅿🅰🆂🆂🆆🅾🆁🅳", "ⓟⓐⓢⓢⓦⓞⓡⓓ", "➊➋➌➍➎➏➐➑", "١٢٣٤٥٦٧٨", "1️⃣2️⃣3️⃣4️⃣5️⃣6️⃣7️⃣8️⃣"),
    # Characters that nobody sees
    *("pass\u00adword", "pass\u200bword", "\u202epassword", "password\x00", "p\u2060assword", "\u2800password\u3164"),
]


@pytest.mark.parametrize("password", COMMON)
async def test_common_passwords_and_their_plain_variants_are_refused(password: str) -> None:
    assert await outcome(password) == "password_compromised"


FINE = [
    "correct-horse-1",
    "new-password-22",
    "sunny-day-5",
    "pässwörd-ﬁ",
    "correct horse battery",
    "correct-horse-battery-staple",
    "a-new-password-of-mine",
    "password of the week is swordfish",
    "zanzibar-92-teapots",
    "ضصثقفغعه",
    "😀😀😀😀",
    "x" * 64,
    "31312010",  # no day
    "nsd8f7gh",
    "  kettle pot  ",
    "sunshine kettle",
    "kettle-48213",  # more digits than anybody tries
    "7291-0438-2213",
    "Größe und Übermaß",
    "подсолнечник",
]


@pytest.mark.parametrize("password", FINE)
async def test_others_are_taken_whatever_they_are_made_of(password: str) -> None:
    assert await outcome(password, *ADA) == "taken"


async def test_what_is_too_short_or_too_long_is_told_so_first() -> None:
    assert await outcome("1234567") == "password_too_short"
    assert await outcome("p" * 129) == "password_too_long"


@pytest.mark.parametrize(
    "password",
    [
        *("freehold", "freehold1", "Freehold2026", "fr33h0ld!!", "freeholdfreehold", "my-freehold", "freehold-pw"),
        *("lovelace", "AdaLovelace1", "lovelace-1815", "ada.byron1", "adabyron99", "analytical7"),
        *("freehold-lovelace-12",),
        "password-lovelace",  # what is left is a common one
        # With separators, backwards, in other letters
        *(
            "f.r.e.e.h.o.l.d",
            "f r e e h o l d !",
            "f1r2e3e4h5o6l7d8",
            "dloheerf99",
            "fr\u0435\u0435h\u043eld9",
            "free\u200bhold99",
        ),
        *("l-o-v-e-l-a-c-e", "ecalevol12", "lövelace12", "lovelace.ada", "a.d.a.b.y.r.o.n", ADA[1], "norybada1"),
    ],
)
async def test_words_of_the_service_and_of_the_user_do_not_make_a_password(password: str) -> None:
    assert await outcome(password, *ADA) == "password_too_predictable"


async def test_a_word_in_a_long_password_does_no_harm() -> None:
    assert await outcome("a freehold for everybody", *ADA) == "taken"
    assert await outcome("lovelace wrote the first program", *ADA) == "taken"
    # Three letters are in many words.
    assert await outcome("cascading-teapot", "Cas", "cas@example.com") == "taken"


async def test_an_operator_has_more_words() -> None:
    rules = PasswordRules(words_of_service("https://auth.acme-rocket.io", "Moon Base", "skunkworks"))
    for password in ("acme-rocket-1", "AcmeRocket22", "moonbase1969", "skunkworks!", "freehold99"):
        assert await outcome(password, rules=rules) == "password_too_predictable", password
    assert await outcome("auth-is-not-enough", rules=rules) == "taken"


async def test_the_address_of_a_service_without_a_name_is_no_password() -> None:
    rules = PasswordRules(words_of_service("http://192.168.40.17:8000"))
    for password in (
        "192.168.40.17",
        "192.168.40.17:8000",
        "!192-168-40-17",
        "192168401",
        "192.168.x",
        "71.04.861.291",
    ):
        assert await outcome(f"{password:<8}", rules=rules) == "password_too_predictable", password
    assert await outcome("teapots 192 for 40", rules=rules) == "taken"
    rules = PasswordRules(words_of_service("http://[2001:db8::7:42]:8000"))
    assert await outcome("2001:db8::7:42", rules=rules) == "password_too_predictable"
    assert words_of_service("http://[::1]:8000") == {"freehold"}
    assert words_of_service("http://localhost:8000") == {"freehold", "localhost"}


def test_a_name_as_long_as_a_request_is_not_read_to_its_end() -> None:
    assert len(words_of(" ".join(f"word{n}" for n in range(10_000)))) < 100


async def test_what_a_collection_of_breaches_knows_is_refused_and_it_is_asked_last() -> None:
    asked = []

    class Collection:
        async def knows(self, password: str) -> bool:
            asked.append(password)
            return password == "zanzibar-92-teapots"

    rules = PasswordRules(breached=Collection())
    assert await outcome("zanzibar-92-teapots", rules=rules) == "password_compromised"
    assert await outcome("zanzibar-93-teapots", rules=rules) == "taken"
    for refused in ("short", "password123", "freehold1"):
        await outcome(refused, rules=rules)
    assert asked == ["zanzibar-92-teapots", "zanzibar-93-teapots"]


async def test_characters_that_nobody_sees_make_no_password_longer() -> None:
    for password in ("7k!" + "\u200b" * 5, "7k!q\u00ad\u00ad\u00ad\u00ad", "\ufe0f" * 8, "\x00" * 8):
        assert await outcome(password) == "password_too_short", ascii(password)
    assert await outcome("7k!qz9\u200bw3") == "taken"


async def test_no_random_password_and_no_passphrase_is_refused() -> None:
    """With words of the list itself in the passphrases: several of them are no common password."""
    await is_common("read the list")
    words = sorted(word for word in _read() if word.isalpha() and len(word) < 10)
    chance = random.Random(11)
    printable = string.ascii_letters + string.digits + string.punctuation

    def letters(of: str, count: int) -> str:
        return "".join(chance.choices(of, k=count))

    made: list[Callable[[], str]] = [
        lambda: letters(string.ascii_lowercase, 9),
        lambda: letters(string.ascii_letters + string.digits, 10),
        lambda: letters(printable, 12),
        lambda: letters(printable, 24),
        lambda: letters(string.digits, 12),
        lambda: letters("абвгдежзийклмнопрстуфхцчшщ", 10),
        lambda: f"{chance.getrandbits(96):024x}",
        lambda: str(UUID(int=chance.getrandbits(128))),
        lambda: " ".join(chance.sample(words, 4)),
        lambda: "-".join(chance.sample(words, 3)),
        lambda: "".join(word.title() for word in chance.sample(words, 3)) + letters(string.digits, 2),
        lambda: ".".join(chance.sample(words, 2)),
    ]
    refused = [
        password for make in made for password in (make() for _ in range(400))
        if await outcome(password, *ADA) != "taken"
    ]  # fmt: skip
    assert refused == []


async def test_the_longest_password_is_looked_at_in_no_time() -> None:
    assert not await is_common("ab" * 64)
    about = ("1" * 60_000, "a" * 200 + "@example.com", "i1!| " * 50)
    for password in ("(" * 128, "a1" * 64, "i1!|" * 32, "1" * 128, "!1" * 64, "\ufdfa" * 128, "\ufb03" * 128):
        started = time.process_time()
        await outcome(password, *about)
        assert time.process_time() - started < 1, ascii(password)

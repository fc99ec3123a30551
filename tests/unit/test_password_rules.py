"""Which new passwords are refused, and that others are not."""

import pytest

from freehold.auth.common_passwords import is_common
from freehold.auth.errors import (
    PasswordCompromised,
    PasswordTooLong,
    PasswordTooPredictable,
    PasswordTooShort,
)
from freehold.auth.password_rules import PasswordRules, words_of, words_of_service

ADA = ("Ada Lovelace", "ada.byron@analytical.example.com")


async def outcome(password: str, *about: str, rules: PasswordRules | None = None) -> str:
    try:
        await (rules or PasswordRules()).check(password, *about)
    except (PasswordTooShort, PasswordTooLong, PasswordCompromised, PasswordTooPredictable) as error:
        return error.code
    return "taken"


COMMON = [
    *("password", "12345678", "password123", "iloveyou1", "qwerty123", "football", "trustno1", "sunshine"),
    *("Password", "PASSWORD123", "iLoveYou", "ｐａｓｓｗｏｒｄ"),  # case, and other forms of the same letters
    *("p@ssw0rd", "P@$$w0rd", "1l0v3y0u"),  # digits and signs for letters
    *("password!", "password2026", "Sunshine99!", "michael-1"),  # an ending
    *("passwordpassword", "dragondragon"),  # twice
    *("qwertyuiop", "poiuytrewq", "lkjhgfds", "1qaz2wsx", "abcdefgh", "87654321"),  # rows of keys
    *("01022010", "24121985", "19851224", "12241985"),  # days
    *("aaaaaaaa", "abcabcabc", "121212121212"),  # repetitions
]


@pytest.mark.parametrize("password", COMMON)
async def test_common_passwords_and_their_plain_variants_are_refused(password: str) -> None:
    assert await outcome(password) == "password_compromised"


FINE = [
    "correct-horse-1",
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
    "  kettle  ",
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
        *(
            "freehold",
            "freehold1",
            "Freehold2026",
            "fr33h0ld!!",
            "freeholdfreehold",
            "my-freehold",
            "freehold-pw",
        ),
        *("lovelace", "AdaLovelace1", "lovelace-1815", "ada.byron1", "adabyron99", "analytical7"),
        *("freehold-lovelace-12",),
        "password-lovelace",  # what is left is a common one
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


def test_a_loopback_address_has_no_words() -> None:
    assert words_of_service("http://127.0.0.1:8000") == {"freehold"}
    assert words_of_service("http://[::1]:8000") == {"freehold"}
    assert words_of_service("http://localhost:8000") == {"freehold"}


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


async def test_the_longest_password_is_looked_at_in_no_time() -> None:
    assert not await is_common("ab" * 64)
    assert await outcome("(" * 128, "(" * 60_000, "a" * 200 + "@example.com") == "taken"

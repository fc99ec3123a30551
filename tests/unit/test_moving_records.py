"""Users as other programs write them: what is taken, in what form, and what is left behind."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.auth.importing.records import Record, Unusable, newcomer
from freehold.auth.passwords.passwords import hash_password, verify_password
from freehold.central.auth.better_auth import record_of

NOW = datetime(2026, 1, 31, tzinfo=UTC)
USER = {"id": "u1", "email": "Ada@Example.com", "name": "Ada", "createdAt": "2025-01-01T00:00:00.000Z"}
HASH = hash_password("correct-horse-1")


def moved(user: dict[str, Any] | None = None, **more: Any) -> Any:
    return newcomer(Record(user={**USER, **(user or {})}, **more), NOW)


def test_a_user_arrives_as_they_were() -> None:
    found = moved({"emailVerified": 1, "role": "admin", "image": "http://i.example/1", "banned": 0}).user
    assert (found.user_id, found.email, found.name) == ("u1", "ada@example.com", "Ada")
    assert (found.email_verified, found.role, found.image, found.banned) == (True, "admin", "http://i.example/1", False)
    assert (found.created_at, found.updated_at) == ("2025-01-01T00:00:00.000Z", "2025-01-01T00:00:00.000Z")


@pytest.mark.parametrize(
    "value",
    [
        "2025-01-02T03:04:05.678Z", "2025-01-02 03:04:05.678", "2025-01-02T03:04:05.678901+00:00",
        "2025-01-02T04:04:05.678+01:00", 1735787045678, "1735787045678", 1735787045.678,
    ],
)  # fmt: skip
def test_dates_of_every_adapter_are_read(value: Any) -> None:
    assert moved({"createdAt": value}).user.created_at == "2025-01-02T03:04:05.678Z"


@pytest.mark.parametrize("value", [True, 1, "1", "true", "t"])
def test_booleans_of_every_adapter_are_read(value: Any) -> None:
    assert moved({"emailVerified": value}).user.email_verified is True


def test_the_password_still_fits() -> None:
    [way] = moved(accounts=[{"providerId": "credential", "accountId": "other", "password": HASH}]).ways_in
    assert way.subject == "u1"  # as sign-in looks for it
    assert verify_password("correct-horse-1", way.password_hash)


def test_a_hash_of_another_kind_is_left_behind_with_a_note() -> None:
    found = moved(accounts=[{"providerId": "credential", "password": "$2b$12$abc"}])
    assert found.ways_in == []
    assert "a new password has to be set" in found.notes[0]
    assert "$2b$12$abc" not in found.notes[0]


def test_tokens_of_other_providers_stay_behind() -> None:
    account = {"providerId": "google", "accountId": "g-1", "accessToken": "secret", "refreshToken": "secret"}
    [way] = moved(accounts=[account]).ways_in
    assert (way.provider_id, way.subject) == ("google", "g-1")
    assert "secret" not in repr(way)


def test_only_live_sessions_of_the_user_themself_arrive() -> None:
    def session(token: str, ends: Any, **more: Any) -> dict[str, Any]:
        return {"id": token, "token": token, "expiresAt": ends, **more}

    sessions = [
        session("live", "2026-02-01T00:00:00.000Z"),
        session("in seconds", int(NOW.timestamp()) + 60),
        session("ended", "2026-01-30T00:00:00.000Z"),
        session("ends now", NOW.isoformat()),
        session("acted", "2026-02-01T00:00:00.000Z", impersonatedBy="boss"),
    ]
    assert [each.token for each in moved(sessions=sessions).sessions] == ["live", "in seconds"]
    assert moved({"banned": 1}, sessions=sessions).sessions == []


@pytest.mark.parametrize(
    "user",
    [
        {"email": ""}, {"email": None}, {"email": "no address"}, {"email": 5}, {"email": "a@b.co\0"},
        {"name": ["x"]}, {"name": "\ud800"}, {"name": "x" * 3_000}, {"createdAt": "yesterday"},
        {"createdAt": 10**30}, {"id": {}},
    ],
)  # fmt: skip
def test_a_user_who_cannot_be_used_is_refused_with_a_reason(user: dict[str, Any]) -> None:
    with pytest.raises(Unusable, match="`"):
        moved(user)


@given(st.dictionaries(st.sampled_from([*USER, "banned", "banExpires", "emailVerified", "role"]),
                       st.one_of(st.none(), st.text(), st.integers(), st.floats(), st.lists(st.none()))),
       st.lists(st.dictionaries(st.sampled_from(["token", "expiresAt", "id", "providerId", "accountId", "password"]),
                                st.one_of(st.none(), st.text(), st.integers(), st.binary()))))  # fmt: skip
def test_nothing_that_is_found_breaks_it(user: dict[str, Any], belongings: list[dict[str, Any]]) -> None:
    try:
        found = moved(user, accounts=belongings, sessions=belongings)
    except Unusable:
        return
    assert found.user.email


def test_a_line_is_a_user() -> None:
    line = b'{"email": "a@example.com", "name": "A", "password": "%s", "sessions": [{"token": "t"}]}'
    record = record_of(line % HASH.encode(), 1)
    assert newcomer(record, NOW).ways_in[0].password_hash == HASH
    assert record.sessions == [{"token": "t"}]


@pytest.mark.parametrize(
    "line",
    [
        b"", b"[]", b"{", b'"x"', b"\xff", b'{"accounts": 1, "email": "a@b.co"}',
        b'{"sessions": ["x"], "email": "a@b.co"}', b"[" * 100_000, b'{"email": "' + b"x" * 1_000_001,
    ],
)  # fmt: skip
def test_a_line_that_is_none_says_which(line: bytes) -> None:
    record = record_of(line, 7)
    assert record.fault is not None
    assert "line 7" in record.fault
    with pytest.raises(Unusable):
        newcomer(record, NOW)

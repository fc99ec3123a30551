"""How often a key may be used: its own rate, its uses, its refills."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from freehold.auth.api_keys.errors import ApiKeyDisabled, ApiKeyExpired, ApiKeyRateLimited, ApiKeyUsedUp
from freehold.auth.api_keys.service import used_once
from freehold.auth.api_keys.types import ApiKey
from freehold.dates import to_iso

NOW = datetime(2026, 1, 31, 10, tzinfo=UTC)


def key(**more: object) -> ApiKey:
    made = ApiKey(key_id="k", reference_id="u", created_at=to_iso(NOW), updated_at=to_iso(NOW))
    return replace(made, **more)


def ms(number: int) -> timedelta:
    return timedelta(milliseconds=number)


def test_a_use_is_counted_and_dated() -> None:
    used = used_once(key(), NOW)
    assert (used.request_count, used.last_request, used.remaining) == (1, to_iso(NOW), None)


def test_so_many_at_once_and_then_one_for_each_share_of_the_window() -> None:
    found = key(rate_limit_max=10, rate_limit_time_window=60_000)
    for _ in range(10):
        found = used_once(found, NOW)
    with pytest.raises(ApiKeyRateLimited) as caught:
        used_once(found, NOW + ms(1_000))
    assert caught.value.retry_after_ms == 5_000
    assert caught.value.retry_after_s == 5
    found = used_once(found, NOW + ms(6_000))
    with pytest.raises(ApiKeyRateLimited):
        used_once(found, NOW + ms(6_001))
    for _ in range(10):
        found = used_once(found, NOW + ms(120_000))


def test_who_stays_below_the_limit_is_never_refused() -> None:
    found, moment = key(rate_limit_max=10, rate_limit_time_window=60_000), NOW
    for _ in range(500):
        found = used_once(found, moment)
        moment += ms(6_000)


@given(st.lists(st.integers(0, 20_000), max_size=80), st.integers(1, 20), st.integers(1_000, 100_000))
def test_no_window_holds_more_than_a_full_count_and_what_comes_back_in_it(
    pauses: list[int], most: int, window_ms: int
) -> None:
    found, moment, allowed = key(rate_limit_max=most, rate_limit_time_window=window_ms), NOW, []
    for pause in pauses:
        moment += ms(pause)
        try:
            found = used_once(found, moment)
            allowed.append(moment)
        except ApiKeyRateLimited as refused:
            later = moment + ms(refused.retry_after_ms)
            assert used_once(found, later).request_count <= most, "what was promised is kept"
    for start in allowed:
        assert sum(start <= each < start + ms(window_ms) for each in allowed) <= 2 * most


def test_a_clock_that_went_back_gives_nothing_back_and_breaks_nothing() -> None:
    found = used_once(key(rate_limit_max=2, rate_limit_time_window=60_000), NOW)
    found = used_once(found, NOW - timedelta(hours=1))
    with pytest.raises(ApiKeyRateLimited) as caught:
        used_once(found, NOW - timedelta(hours=2))
    assert caught.value.retry_after_ms <= 60_000


@pytest.mark.parametrize(
    "off", [{"rate_limit_enabled": False}, {"rate_limit_max": None}, {"rate_limit_time_window": None}]
)
def test_without_a_rate_there_is_none(off: dict[str, object]) -> None:
    found = key(**{"rate_limit_max": 1, **off})
    for _ in range(5):
        found = used_once(found, NOW)
    assert found.request_count == 0


def test_a_rate_of_none_refuses_all() -> None:
    with pytest.raises(ApiKeyRateLimited):
        used_once(key(rate_limit_max=0), NOW)


def test_uses_are_spent_for_ever() -> None:
    found = key(remaining=2)
    found = used_once(used_once(found, NOW), NOW)
    assert found.remaining == 0
    with pytest.raises(ApiKeyUsedUp) as caught:
        used_once(found, NOW + timedelta(days=400))
    assert caught.value.is_final


def test_uses_come_back_by_a_refill() -> None:
    found = key(remaining=1, refill_amount=3, refill_interval=3_600_000)
    found = used_once(found, NOW)
    with pytest.raises(ApiKeyUsedUp) as caught:
        used_once(found, NOW + timedelta(minutes=59))
    assert not caught.value.is_final
    assert caught.value.retry_after_s == 60
    found = used_once(found, NOW + timedelta(hours=1))
    assert (found.remaining, found.last_refill_at) == (2, to_iso(NOW + timedelta(hours=1)))
    found = used_once(found, NOW + timedelta(hours=5))
    assert found.remaining == 2, "a refill fills, it does not add up"


def test_a_refused_use_takes_nothing() -> None:
    found = used_once(key(remaining=5, rate_limit_max=1), NOW)
    with pytest.raises(ApiKeyRateLimited):
        used_once(found, NOW)
    assert found.remaining == 4


def test_a_key_that_is_off_or_over_is_refused_at_once() -> None:
    with pytest.raises(ApiKeyDisabled):
        used_once(key(enabled=False, remaining=0), NOW)
    with pytest.raises(ApiKeyExpired):
        used_once(key(expires_at=to_iso(NOW)), NOW)
    assert used_once(key(expires_at=to_iso(NOW + ms(1))), NOW).request_count == 1

"""One-time codes: what is let through, and for how long, whatever is tried in whatever order."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freehold.auth.email.code_rows import holds_code, read_codes
from freehold.auth.email.codes import Codes, Purpose
from freehold.auth.errors import CodeExpired, MailRefused, MailUnavailable, TooManyTries, WrongCode
from freehold.auth.outgoing_email import OutgoingEmail
from freehold.auth.places import Place
from freehold.auth.verifications import Rows, Verification
from freehold.errors import RateLimited
from freehold.limiting import NO_LIMIT, Rate

T = TypeVar("T")

START = datetime(2026, 1, 31, 10, 20, 30, tzinfo=UTC)
SIGN_IN = Purpose(kind="sign-in", email="ada@example.com")
REFUSALS: dict[type[Exception], str] = {
    WrongCode: "wrong_code",
    CodeExpired: "code_expired",
    TooManyTries: "too_many_tries",
    RateLimited: "rate_limited",
}
HOME = "192.0.2.1"


@dataclass
class Table:
    """`verification` in memory."""

    rows: Rows = field(default_factory=dict)

    async def find(self, identifier: str) -> Verification | None:
        return self.rows.get(identifier)

    async def update(self, identifiers: list[str], decide: Callable[[Rows], T]) -> T:
        handed = {name: self.rows[name] for name in identifiers if name in self.rows}
        answer = decide(handed)
        assert set(handed) <= set(identifiers), "a row that was not asked for"
        self.rows = {name: row for name, row in self.rows.items() if name not in identifiers} | handed
        return answer


@dataclass
class Post:
    """Keeps the letters, or fails."""

    sent: list[OutgoingEmail] = field(default_factory=list)
    rehearsed: list[OutgoingEmail] = field(default_factory=list)
    fails_with: type[Exception] | None = None

    async def send(self, letter: OutgoingEmail) -> None:
        if self.fails_with:
            raise self.fails_with("no")
        self.sent.append(letter)

    async def rehearse(self, letter: OutgoingEmail) -> None:
        if self.fails_with:
            raise self.fails_with("no")
        self.rehearsed.append(letter)


@dataclass
class CodesInMemory:
    """Codes are 000001, 000002 and so on."""

    rate: Rate = field(default_factory=lambda: Rate(3, 3600))
    table: Table = field(default_factory=Table)
    post: Post = field(default_factory=Post)
    known: set[str] = field(default_factory=set)
    now: datetime = START
    count: int = 0

    @property
    def codes(self) -> Codes:
        return Codes(self.table, self.post, self, "a-secret", self.rate, clock=lambda: self.now, new_code=self.new_code)

    async def at(self, email: str, source: str) -> Place:
        return Place(f"{source}-for-{email}", source in self.known)

    async def remember(self, email: str, source: str) -> None:
        self.known.add(source)

    def new_code(self) -> str:
        self.count += 1
        return f"{self.count:06}"

    async def send(self, purpose: Purpose = SIGN_IN, source: str = HOME) -> str:
        await self.codes.send(purpose, "en", source)
        return self.post.sent[-1].secret

    async def outcome(self, code: str, purpose: Purpose = SIGN_IN, source: str = HOME) -> str:
        try:
            await self.codes.use(purpose, code, source)
        except tuple(REFUSALS) as error:
            return REFUSALS[type(error)]
        return "in"

    def wait(self, **more: float) -> None:
        self.now += timedelta(**more)


@pytest.fixture
def world() -> CodesInMemory:
    return CodesInMemory()


async def test_a_code_works_once(world: CodesInMemory) -> None:
    code = await world.send()
    assert len(code) == 6
    assert [await world.outcome(code), await world.outcome(code)] == ["in", "wrong_code"]


async def test_checking_a_code_does_not_use_it_up(world: CodesInMemory) -> None:
    code = await world.send()
    first, again = [await world.codes.check(SIGN_IN, code, HOME) for _ in range(2)]
    assert first == again
    assert await world.outcome(code) == "in"


async def test_a_code_is_for_one_address_and_one_thing(world: CodesInMemory) -> None:
    code = await world.send()
    for other in (
        Purpose(kind="sign-in", email="eve@example.com"),
        Purpose(kind="forget-password", email="ada@example.com"),
        Purpose(kind="email-verification", email="ada@example.com"),
        Purpose(kind="change-email", email="ada@example.com", old_email="eve@example.com"),
    ):
        assert await world.outcome(code, other) == "wrong_code"
    assert await world.outcome(code) == "in"


async def test_a_code_to_change_an_address_is_for_who_asked(world: CodesInMemory) -> None:
    def change(old: str) -> Purpose:
        return Purpose(kind="change-email", email="new@example.com", old_email=old)

    code = await world.send(change("ada@example.com"))
    assert await world.outcome(code, change("eve@example.com")) == "wrong_code"
    assert await world.outcome(code, change("ada@example.com")) == "in"


async def test_a_code_lasts_five_minutes(world: CodesInMemory) -> None:
    code = await world.send()
    world.wait(minutes=4, seconds=59)
    await world.codes.check(SIGN_IN, code, HOME)
    world.wait(seconds=1)
    assert await world.outcome(code) == "code_expired"


async def test_a_newer_code_replaces_the_older(world: CodesInMemory) -> None:
    older, newer = await world.send(), await world.send()
    assert [await world.outcome(older), await world.outcome(newer)] == ["wrong_code", "in"]


async def test_after_three_wrong_ones_the_right_one_is_refused_and_void(world: CodesInMemory) -> None:
    code = await world.send()
    assert [await world.outcome("999999") for _ in range(3)] == ["wrong_code"] * 3
    assert [await world.outcome(code), await world.outcome(code)] == ["too_many_tries", "wrong_code"]


async def test_asking_anew_gives_three_tries_at_the_new_one_and_ever_longer_delays(world: CodesInMemory) -> None:
    await world.send()
    assert [await world.outcome("999999") for _ in range(3)] == ["wrong_code"] * 3
    await world.send()
    assert [await world.outcome("999999") for _ in range(2)] == ["wrong_code"] * 2
    code = await world.send()
    for delay_s in (15, 30):
        with pytest.raises(RateLimited) as refused:
            await world.codes.use(SIGN_IN, code, HOME)
        assert refused.value.retry_after_s == delay_s, "the right one is not even looked at"
        world.wait(seconds=delay_s)
        assert await world.outcome("999999") == "wrong_code"
    world.wait(seconds=60)
    assert await world.outcome(code) == "in"


async def test_the_right_code_forgives_the_wrong_ones(world: CodesInMemory) -> None:
    for _ in range(2):
        code = await world.send()
        assert [await world.outcome("999999") for _ in range(2)] == ["wrong_code"] * 2
        assert await world.outcome(code) == "in"


async def test_three_codes_an_hour_go_to_one_address_for_whatever(world: CodesInMemory) -> None:
    for minutes, kind in ((0, "sign-in"), (10, "forget-password"), (10, "email-verification")):
        world.wait(minutes=minutes)
        await world.send(Purpose(kind=kind, email="ada@example.com"))  # type: ignore[arg-type]
    with pytest.raises(RateLimited) as refused:
        await world.send()
    assert refused.value.retry_after_s == 40 * 60
    await world.send(Purpose(kind="sign-in", email="eve@example.com"))
    world.wait(minutes=40)
    await world.send()
    with pytest.raises(RateLimited) as refused:
        await world.send()
    assert refused.value.retry_after_s == 10 * 60


async def test_who_comes_with_an_earlier_time_than_the_others_waits_no_longer_than_they(world: CodesInMemory) -> None:
    for _ in range(3):
        await world.send()
    world.wait(seconds=-2)
    with pytest.raises(RateLimited) as refused:
        await world.send()
    assert refused.value.retry_after_s == 3600


async def test_who_gets_no_mail_is_limited_just_the_same(world: CodesInMemory) -> None:
    for _ in range(3):
        await world.codes.send(SIGN_IN, "en", HOME, has_reader=False)
    with pytest.raises(RateLimited):
        await world.codes.send(SIGN_IN, "en", HOME, has_reader=False)
    assert world.post.sent == []
    assert len(world.post.rehearsed) == 3
    assert [await world.outcome("999999") for _ in range(4)] == ["wrong_code"] * 3 + ["too_many_tries"]


@pytest.mark.parametrize("has_reader", [True, False])
async def test_a_mail_that_did_not_go_out_is_an_error_and_does_not_count(
    world: CodesInMemory, has_reader: bool
) -> None:
    world.post.fails_with = MailUnavailable
    for _ in range(5):
        with pytest.raises(MailUnavailable):
            await world.codes.send(SIGN_IN, "en", HOME, has_reader=has_reader)
    assert await world.outcome(f"{world.count:06}") == "wrong_code", "nobody has it"
    world.post.fails_with = None
    for _ in range(3):
        await world.send()
    world.wait(hours=1)
    world.post.fails_with = MailRefused  # the address' fault: asking for it again and again does count
    for _ in range(3):
        with pytest.raises(MailRefused):
            await world.send()
    with pytest.raises(RateLimited):
        await world.send()


async def test_without_a_limit_each_code_has_its_own_three_tries() -> None:
    world = CodesInMemory(rate=NO_LIMIT)
    for _ in range(5):
        code = await world.send()
        assert [await world.outcome("999999") for _ in range(3)] == ["wrong_code"] * 3
        assert await world.outcome(code) == "too_many_tries"
    assert await world.outcome(await world.send()) == "in"


async def test_nothing_in_the_table_tells_the_code(world: CodesInMemory) -> None:
    code = await world.send()
    await world.outcome("999999")
    text = repr(world.table.rows)
    assert code not in text
    # Whoever has the table can try all codes, but not without the secret.
    elsewhere = CodesInMemory(table=world.table)
    stranger = Codes(world.table, world.post, world, "another-secret", world.rate, clock=lambda: world.now)
    with pytest.raises(WrongCode):
        await stranger.check(SIGN_IN, code, HOME)
    assert await elsewhere.outcome(code) == "in"


@pytest.mark.parametrize("code", ["", "0", "00000١", "０００００１", "000001 ", "\0", "x" * 60_000, "\ud800"])
async def test_what_is_no_code_is_just_wrong(world: CodesInMemory, code: str) -> None:
    assert await world.send() == "000001"
    assert await world.outcome(code) == "wrong_code"


# Strangers -------------------------------------------------------------------------------------------


def stranger(number: int) -> str:
    return f"198.51.100.{number}"


async def test_strangers_guesses_do_not_void_a_code_where_it_was_asked_for(world: CodesInMemory) -> None:
    code = await world.send()
    told = {await world.outcome("999999", source=stranger(n)) for n in range(50)}
    assert told == {"wrong_code", "too_many_tries"}
    assert [await world.outcome("999999") for _ in range(2)] == ["wrong_code"] * 2
    assert await world.outcome(code) == "in"


async def test_five_wrong_tries_from_elsewhere_close_a_code_to_all_places_but_its_own(world: CodesInMemory) -> None:
    code = await world.send()
    assert [await world.outcome("999999", source=stranger(n)) for n in range(6)] == [
        *["wrong_code"] * 5,
        "too_many_tries",
    ]
    assert await world.outcome(code, source="203.0.113.9") == "too_many_tries"
    assert await world.outcome(code) == "in"


async def test_a_code_can_be_used_on_another_network_than_it_was_asked_on(world: CodesInMemory) -> None:
    code = await world.send()
    assert [await world.outcome("999999", source=stranger(n)) for n in range(4)] == ["wrong_code"] * 4
    assert await world.outcome(code, source="2001:db8::") == "in"
    assert await world.outcome(code) == "wrong_code", "once, wherever"


async def test_a_code_that_a_stranger_asks_for_replaces_none(world: CodesInMemory) -> None:
    code = await world.send()
    await world.send(source=stranger(1))
    assert [await world.outcome("999999", source=stranger(1)) for _ in range(4)] == [
        *["wrong_code"] * 3,
        "too_many_tries",
    ]
    assert await world.outcome(code) == "in"


async def test_who_asks_too_often_uses_up_their_own_mail_only(world: CodesInMemory) -> None:
    for _ in range(3):
        await world.send(source=stranger(1))
    with pytest.raises(RateLimited) as refused:
        await world.send(source=stranger(1))
    assert refused.value.retry_after_s == 3600
    assert await world.outcome(await world.send()) == "in"


async def test_when_strangers_have_used_up_all_mail_their_newest_code_will_do(world: CodesInMemory) -> None:
    for n in range(40):
        await world.codes.send(SIGN_IN, "en", stranger(n))
    assert len(world.post.sent) == 12
    await world.codes.send(SIGN_IN, "en", HOME)
    assert len(world.post.sent) == 12, "no further mail"
    assert await world.outcome(world.post.sent[-1].secret) == "in"


async def test_after_that_strange_places_get_mail_ever_more_seldom(world: CodesInMemory) -> None:
    for n in range(12):
        await world.send(source=stranger(n))
    waits = []
    for n in range(5):
        world.wait(seconds=1)
        other = Purpose(kind="forget-password", email="ada@example.com")  # of which no code is live
        with pytest.raises(RateLimited) as refused:
            await world.codes.send(other, "en", stranger(100 + n))
        waits.append(refused.value.retry_after_s + 1)
        world.wait(seconds=refused.value.retry_after_s)
        await world.send(source=stranger(200 + n))
    assert waits == [5 * 60, 10 * 60, 20 * 60, 30 * 60, 30 * 60]


async def test_a_place_that_the_address_signed_in_from_is_not_held_up_by_strangers(world: CodesInMemory) -> None:
    world.known.add(HOME)
    for n in range(40):
        await world.codes.send(SIGN_IN, "en", stranger(n))
    world.wait(minutes=6)  # so that none of theirs is good
    for n in range(200):
        await world.outcome("999999", source=stranger(n))
    assert await world.outcome(await world.send()) == "in"


async def test_wrong_tries_from_ever_new_places_are_slowed_together(world: CodesInMemory) -> None:
    """One code after the other, and five tries at each from places that have not asked."""
    world.rate = Rate(1000, 3600)  # this is not about mail
    for n in range(100):
        if n % 5 == 0:
            await world.send()
        assert await world.outcome("999999", source=stranger(n)) == "wrong_code"
    code = await world.send()
    with pytest.raises(RateLimited) as refused:
        await world.codes.use(SIGN_IN, code, stranger(100))
    assert refused.value.retry_after_s == 60
    # Whoever has asked from where they are goes on; but a strange place now has one try at each code.
    await world.send(source=stranger(101))
    assert [await world.outcome("999999", source=stranger(101)) for _ in range(2)] == ["wrong_code", "too_many_tries"]
    assert await world.outcome(code) == "in"


async def test_a_code_that_97dc196_sent_can_be_used_and_has_as_many_tries_left(world: CodesInMemory) -> None:
    row = world.codes._hash(SIGN_IN, "123456")
    for wrong, told in ((0, "in"), (4, "in"), (5, "too_many_tries")):
        value = Verification(value=f"{row}:{wrong}", expires_at=START + timedelta(minutes=5))
        world.table.rows = {SIGN_IN.identifier: value}
        if wrong == 0:
            one_time_use = await world.codes.check(SIGN_IN, "123456", HOME)
            assert await world.outcome("999999") == "wrong_code"
            assert holds_code(world.table.rows[SIGN_IN.identifier].value, one_time_use.value)
        assert await world.outcome("123456") == told


steps = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.integers(0, 30)),
        st.tuples(st.just("guess"), st.integers(0, 30)),
        st.tuples(st.just("guess"), st.integers(0, 30)),
        st.tuples(st.just("wait"), st.integers(0, 90)),
    ),
    max_size=120,
)


@given(steps)
@settings(max_examples=200, deadline=None)
def test_whatever_strangers_do_the_owner_gets_in_and_no_code_is_missed_often(steps: list[tuple[str, int]]) -> None:
    asyncio.run(_play(steps))


async def _play(steps: list[tuple[str, int]]) -> None:
    world = CodesInMemory()
    code = await world.send()
    for what, number in steps:
        match what:
            case "ask":
                with suppress(RateLimited):
                    await world.codes.send(SIGN_IN, "en", stranger(number))
            case "guess":
                assert await world.outcome("999999", source=stranger(number)) != "in"
            case _:
                world.wait(seconds=number)
                if world.now - START >= timedelta(minutes=5):
                    break
        sent = read_codes(world.table.rows.get(SIGN_IN.identifier))
        assert all(each.wrong_here <= 3 and each.wrong_elsewhere <= 5 for each in sent)
        assert len(world.post.sent) <= 1 + 12
    if world.now - START < timedelta(minutes=5):
        assert await world.outcome(code) == "in"
    else:
        assert await world.outcome(code) != "in"
        world.wait(minutes=30)
        assert await world.outcome(await world.send()) == "in"

"""One-time codes: what is let through, and for how long, whatever is tried in whatever order."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freehold.auth.codes import Codes, Purpose
from freehold.auth.errors import CodeExpired, MailRefused, MailUnavailable, TooManyTries, WrongCode
from freehold.auth.letters import Letter
from freehold.auth.pending import Pending, Rows
from freehold.limiting import NO_LIMIT, Rate, RateLimited

T = TypeVar("T")

START = datetime(2026, 1, 31, 10, 20, 30, tzinfo=UTC)
SIGN_IN = Purpose(kind="sign-in", email="ada@example.com")
REFUSALS = (WrongCode, CodeExpired, TooManyTries)


@dataclass
class Table:
    """`verification` in memory."""

    rows: Rows = field(default_factory=dict)

    async def find(self, identifier: str) -> Pending | None:
        return self.rows.get(identifier)

    async def settle(self, identifiers: list[str], decide: Callable[[Rows], T]) -> T:
        handed = {name: self.rows[name] for name in identifiers if name in self.rows}
        answer = decide(handed)
        assert set(handed) <= set(identifiers), "a row that was not asked for"
        self.rows = {name: row for name, row in self.rows.items() if name not in identifiers} | handed
        return answer


@dataclass
class Post:
    """Keeps the letters, or fails."""

    sent: list[Letter] = field(default_factory=list)
    rehearsed: list[Letter] = field(default_factory=list)
    fails_with: type[Exception] | None = None

    async def send(self, letter: Letter) -> None:
        if self.fails_with:
            raise self.fails_with("no")
        self.sent.append(letter)

    async def rehearse(self, letter: Letter) -> None:
        if self.fails_with:
            raise self.fails_with("no")
        self.rehearsed.append(letter)


@dataclass
class World:
    """Codes are 000001, 000002 and so on."""

    rate: Rate = field(default_factory=lambda: Rate(3, 3600))
    table: Table = field(default_factory=Table)
    post: Post = field(default_factory=Post)
    now: datetime = START
    count: int = 0

    @property
    def codes(self) -> Codes:
        return Codes(
            self.table, self.post, "a-secret", self.rate, clock=lambda: self.now, new_code=self.new_code
        )

    def new_code(self) -> str:
        self.count += 1
        return f"{self.count:06}"

    async def send(self, purpose: Purpose = SIGN_IN) -> str:
        await self.codes.send(purpose, "en")
        return self.post.sent[-1].secret

    async def outcome(self, code: str, purpose: Purpose = SIGN_IN) -> str:
        try:
            await self.codes.use(purpose, code)
        except REFUSALS as error:
            return error.code
        return "in"

    def wait(self, **more: float) -> None:
        self.now += timedelta(**more)


@pytest.fixture
def world() -> World:
    return World()


async def test_a_code_works_once(world: World) -> None:
    code = await world.send()
    assert len(code) == 6
    assert [await world.outcome(code), await world.outcome(code)] == ["in", "wrong_code"]


async def test_checking_a_code_does_not_use_it_up(world: World) -> None:
    code = await world.send()
    first, again = [await world.codes.check(SIGN_IN, code) for _ in range(2)]
    assert first == again
    assert await world.outcome(code) == "in"


async def test_a_code_is_for_one_address_and_one_thing(world: World) -> None:
    code = await world.send()
    for other in (
        Purpose(kind="sign-in", email="eve@example.com"),
        Purpose(kind="forget-password", email="ada@example.com"),
        Purpose(kind="email-verification", email="ada@example.com"),
        Purpose(kind="change-email", email="ada@example.com", old_email="eve@example.com"),
    ):
        assert await world.outcome(code, other) == "wrong_code"
    assert await world.outcome(code) == "in"


async def test_a_code_to_change_an_address_is_for_who_asked(world: World) -> None:
    def change(old: str) -> Purpose:
        return Purpose(kind="change-email", email="new@example.com", old_email=old)

    code = await world.send(change("ada@example.com"))
    assert await world.outcome(code, change("eve@example.com")) == "wrong_code"
    assert await world.outcome(code, change("ada@example.com")) == "in"


async def test_a_code_lasts_five_minutes(world: World) -> None:
    code = await world.send()
    world.wait(minutes=4, seconds=59)
    await world.codes.check(SIGN_IN, code)
    world.wait(seconds=1)
    assert await world.outcome(code) == "code_expired"


async def test_a_newer_code_replaces_the_older(world: World) -> None:
    older, newer = await world.send(), await world.send()
    assert [await world.outcome(older), await world.outcome(newer)] == ["wrong_code", "in"]


async def test_after_three_wrong_ones_the_right_one_is_refused_and_void(world: World) -> None:
    code = await world.send()
    assert [await world.outcome("999999") for _ in range(3)] == ["wrong_code"] * 3
    assert [await world.outcome(code), await world.outcome(code)] == ["too_many_tries", "wrong_code"]


async def test_asking_anew_gives_no_more_guesses(world: World) -> None:
    await world.send()
    assert [await world.outcome("999999") for _ in range(2)] == ["wrong_code"] * 2
    code = await world.send()
    assert await world.outcome("999999") == "wrong_code"
    assert await world.outcome(code) == "too_many_tries"
    with pytest.raises(RateLimited) as refused:
        await world.send()
    assert refused.value.retry_after_s == 3600
    # Nor does another kind of code for the same address.
    with pytest.raises(RateLimited):
        await world.send(Purpose(kind="forget-password", email="ada@example.com"))
    world.wait(hours=1)
    assert await world.outcome(await world.send()) == "in"


async def test_the_right_code_forgives_the_wrong_ones(world: World) -> None:
    for _ in range(2):
        code = await world.send()
        assert [await world.outcome("999999") for _ in range(2)] == ["wrong_code"] * 2
        assert await world.outcome(code) == "in"


async def test_three_codes_an_hour_go_to_one_address_for_whatever(world: World) -> None:
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


async def test_who_comes_with_an_earlier_time_than_the_others_waits_no_longer_than_they(world: World) -> None:
    for _ in range(3):
        await world.send()
    world.wait(seconds=-2)
    with pytest.raises(RateLimited) as refused:
        await world.send()
    assert refused.value.retry_after_s == 3600


async def test_who_gets_no_mail_is_limited_just_the_same(world: World) -> None:
    for _ in range(3):
        await world.codes.send(SIGN_IN, "en", has_reader=False)
    with pytest.raises(RateLimited):
        await world.codes.send(SIGN_IN, "en", has_reader=False)
    assert world.post.sent == []
    assert len(world.post.rehearsed) == 3
    assert [await world.outcome("999999") for _ in range(4)] == ["wrong_code"] * 3 + ["too_many_tries"]


@pytest.mark.parametrize("has_reader", [True, False])
async def test_a_mail_that_did_not_go_out_is_an_error_and_does_not_count(
    world: World, has_reader: bool
) -> None:
    world.post.fails_with = MailUnavailable
    for _ in range(5):
        with pytest.raises(MailUnavailable):
            await world.codes.send(SIGN_IN, "en", has_reader=has_reader)
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
    world = World(rate=NO_LIMIT)
    for _ in range(5):
        code = await world.send()
        assert [await world.outcome("999999") for _ in range(3)] == ["wrong_code"] * 3
        assert await world.outcome(code) == "too_many_tries"
    assert await world.outcome(await world.send()) == "in"


async def test_nothing_in_the_table_tells_the_code(world: World) -> None:
    code = await world.send()
    await world.outcome("999999")
    text = repr(world.table.rows)
    assert code not in text
    # Whoever has the table can try all codes, but not without the secret.
    elsewhere = World(table=world.table)
    stranger = Codes(world.table, world.post, "another-secret", world.rate, clock=lambda: world.now)
    with pytest.raises(WrongCode):
        await stranger.check(SIGN_IN, code)
    assert await elsewhere.outcome(code) == "in"


@pytest.mark.parametrize("code", ["", "0", "00000١", "０００００１", "000001 ", "\0", "x" * 60_000, "\ud800"])
async def test_what_is_no_code_is_just_wrong(world: World, code: str) -> None:
    assert await world.send() == "000001"
    assert await world.outcome(code) == "wrong_code"


steps = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.sampled_from(["sign-in", "forget-password"])),
        st.tuples(st.just("guess"), st.sampled_from(["sign-in", "forget-password"])),
        st.tuples(st.just("right"), st.sampled_from(["sign-in", "forget-password"])),
        st.tuples(st.just("wait"), st.integers(0, 5000)),
    ),
    max_size=40,
)


@given(steps)
@settings(max_examples=200, deadline=None)
def test_in_no_hour_are_there_more_codes_or_guesses_than_allowed(steps: list[tuple[str, str | int]]) -> None:
    asyncio.run(_play(steps))


async def _play(steps: list[tuple[str, str | int]]) -> None:
    world = World()
    newest: dict[str, tuple[str, datetime]] = {}
    mails: list[datetime] = []
    guesses: list[datetime] = []  # wrong ones that were looked at, since a right one
    for what, more in steps:
        if what == "wait":
            world.wait(seconds=int(more))
            continue
        purpose = Purpose(kind=str(more), email="ada@example.com")  # type: ignore[arg-type]
        outcome = ""
        if what == "send":
            try:
                newest[str(more)] = (await world.send(purpose), world.now)
            except RateLimited:
                continue
            mails.append(world.now)
        elif what == "guess":
            outcome = await world.outcome("999999", purpose)
            if outcome == "wrong_code" and str(more) in newest:
                guesses.append(world.now)
        else:
            code, sent_at = newest.get(str(more), ("000000", START))
            outcome = await world.outcome(code, purpose)
            if outcome == "in":
                assert world.now - sent_at < timedelta(minutes=5)
                del newest[str(more)]
                guesses.clear()
        if outcome in {"too_many_tries", "code_expired"}:  # it is void: later guesses are at nothing
            newest.pop(str(more), None)
        hour_ago = world.now - timedelta(hours=1)
        assert len([mail for mail in mails if mail > hour_ago]) <= 3
    # Every window of an hour opens with its first wrong guess: at most two of them touch any hour.
    for first in guesses:
        assert len([guess for guess in guesses if first <= guess < first + timedelta(hours=1)]) <= 6

"""How long connections may take for what, and who has to go when there are too many."""

import pytest

from freehold.http.middleware.connection_limits import ConnectionLimits, Connections
from freehold.http.middleware.large_bodies import BodyRoom, NoRoom

LIMITS = ConnectionLimits(
    connections=6, connections_each=4, head_s=20, body_s=30, least_bytes_a_s=1000, unread_bytes=1_000_000
)


class Peer:
    """A connection as the test wants it."""

    def __init__(self, address: str = "9.9.9.9") -> None:
        self.address = address
        self.stage = (0, "idle")
        self.body_bytes = 0
        self.unread_bytes = 0
        self.refused = 0
        self.dropped = False

    def refuse(self, status: int, detail: str) -> None:
        assert detail
        self.refused = status

    def drop(self) -> None:
        self.dropped = True


class ConnectionTraffic:
    def __init__(self) -> None:
        self.now = 1000.0
        self.is_short = False
        self.connections = Connections(
            LIMITS,
            is_shared=lambda address: address == "10.0.0.1",
            is_short=lambda: self.is_short,
            clock=lambda: self.now,
        )

    def add(self, *peers: Peer) -> list[str | None]:
        return [self.connections.add(peer) for peer in peers]

    def pass_s(self, seconds: int) -> None:
        for _ in range(seconds):
            self.now += 1
            self.connections.look()


@pytest.fixture
async def world() -> ConnectionTraffic:
    return ConnectionTraffic()


async def test_a_head_has_to_end_in_time(world: ConnectionTraffic) -> None:
    slow, quick = Peer(), Peer()
    world.add(slow, quick)
    slow.stage = quick.stage = (3, "head")
    world.pass_s(15)
    quick.stage = (3, "waiting")
    world.pass_s(500)
    assert (slow.refused, quick.refused, quick.dropped) == (408, 0, False)


async def test_who_says_nothing_at_all_is_dropped(world: ConnectionTraffic) -> None:
    peer = Peer()
    world.add(peer)
    world.pass_s(19)
    assert not peer.dropped
    world.pass_s(3)
    assert peer.dropped


async def test_a_slow_upload_lives_and_one_that_trickles_does_not(world: ConnectionTraffic) -> None:
    honest, trickles = Peer("a"), Peer("b")
    world.add(honest, trickles)
    honest.stage = trickles.stage = (0, "body")
    for _ in range(1200):
        honest.body_bytes += 2_000
        trickles.body_bytes += 300
        world.pass_s(1)
        if trickles.refused:
            break
    assert trickles.refused == 408
    world.pass_s(10)
    assert honest.refused == 0


async def test_whoever_sends_a_lot_and_then_nothing_is_refused_all_the_same(world: ConnectionTraffic) -> None:
    peer = Peer()
    world.add(peer)
    peer.stage, peer.body_bytes = (0, "body"), 9_900_000
    world.pass_s(40)
    assert peer.refused == 408


async def test_when_memory_is_short_bodies_have_to_hurry(world: ConnectionTraffic) -> None:
    peer, quick = Peer("a"), Peer("b")
    world.add(peer, quick)
    peer.stage = quick.stage = (0, "body")
    world.is_short = True
    for _ in range(25):
        peer.body_bytes += 2_000
        quick.body_bytes += 20_000
        world.pass_s(1)
    assert (peer.refused, quick.refused) == (408, 0)


async def test_time_that_the_service_takes_is_not_the_clients(world: ConnectionTraffic) -> None:
    peer = Peer()
    world.add(peer)
    peer.stage = (0, "waiting")
    world.pass_s(1000)
    assert (peer.refused, peer.dropped) == (0, False)


async def test_the_rest_of_a_body_that_nobody_wants_is_not_taken_for_ever(world: ConnectionTraffic) -> None:
    peer = Peer()
    world.add(peer)
    peer.stage = (0, "leftover")
    world.pass_s(10)
    assert peer.dropped


async def test_an_answer_that_nobody_takes_is_not_kept(world: ConnectionTraffic) -> None:
    slow, stopped = Peer("a"), Peer("b")
    world.add(slow, stopped)
    slow.stage = stopped.stage = (1, "idle")
    slow.unread_bytes = stopped.unread_bytes = 400_000
    for _ in range(80):
        slow.unread_bytes -= 2_000
        world.pass_s(1)
    assert (slow.dropped, stopped.dropped) == (False, True)


async def test_when_too_much_is_unread_the_largest_goes(world: ConnectionTraffic) -> None:
    large, small = Peer("a"), Peer("b")
    world.add(large, small)
    large.unread_bytes, small.unread_bytes = 900_000, 200_000
    world.pass_s(1)
    assert (large.dropped, small.dropped) == (True, False)


async def test_one_address_has_its_share_and_a_proxy_all(world: ConnectionTraffic) -> None:
    assert world.add(*(Peer("a") for _ in range(4))) == [None] * 4
    assert "this address" in str(world.add(Peer("a"))[0])
    other = ConnectionTraffic()
    assert other.add(*(Peer("10.0.0.1") for _ in range(6))) == [None] * 6


async def test_who_has_the_most_makes_room_for_who_has_none(world: ConnectionTraffic) -> None:
    many = [Peer("a") for _ in range(4)]
    world.add(*many, Peer("b"), Peer("c"))
    many[0].stage = (0, "waiting")
    assert world.add(Peer("d")) == [None]
    assert [peer.dropped for peer in many] == [False, True, False, False]
    assert "try again" in str(world.add(Peer("d"), Peer("d"), Peer("d"))[-1])
    assert len(world.connections) >= LIMITS.connections


async def test_a_closed_connection_is_not_counted(world: ConnectionTraffic) -> None:
    peers = [Peer("a") for _ in range(4)]
    world.add(*peers)
    for peer in peers:
        world.connections.remove(peer)
        world.connections.remove(peer)
    assert len(world.connections) == 0
    assert world.add(*(Peer("a") for _ in range(4))) == [None] * 4


def test_room_is_given_back_whatever_came_of_the_body() -> None:
    room = BodyRoom(1000, 600)
    first, second = room.enter("a", 500), room.enter("b", 500)
    first.grow(500)
    second.grow(400)
    assert room.is_short
    with pytest.raises(NoRoom, match="this address"):
        room.enter("a", 200)
    with pytest.raises(NoRoom, match="at once"):
        room.enter("c", 200)
    third = room.enter("c", 50)
    third.grow(50)
    with pytest.raises(NoRoom):
        third.grow(100)
    for place in (first, second, third):
        place.leave()
        place.leave()
    assert (room.used_bytes, dict(room.by_address)) == (0, {})

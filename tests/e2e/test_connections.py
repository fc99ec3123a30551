"""What a stranger can do with a connection: heads and bodies without end, too many of everything, or nothing."""

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator

import httpx
import pytest
from testbed.servers import Service

from tests.e2e.people import Person, run_sql, sign_up

HEAD_S, BODY_S = 5, 4
LINE = b"GET /health HTTP/1.1\r\nHost: x\r\n"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    running = Service(
        tmp_path_factory.mktemp("service"),
        REQUEST_HEAD_TIMEOUT_S=str(HEAD_S),
        REQUEST_BODY_TIMEOUT_S=str(BODY_S),
        REQUEST_MEMORY_MB="40",
        MAX_CONNECTIONS_EACH="200",
    ).start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def person(service: Service) -> Person:
    return sign_up(service.url)


@pytest.fixture(autouse=True)
def service_stays_well(service: Service) -> Iterator[None]:
    yield
    assert service.is_running
    assert httpx.get(f"{service.url}/health", timeout=20).status_code == 200


def _connect(service: Service, timeout: float = 30) -> socket.socket:
    return socket.create_connection(("127.0.0.1", service.port), timeout=timeout)


def _read(peer: socket.socket) -> bytes:
    """All that comes until the service closes."""
    received = b""
    with contextlib.suppress(ConnectionError):
        while part := peer.recv(65_536):
            received += part
    return received


def _send(peer: socket.socket, data: bytes) -> bool:
    """Whether it was taken."""
    try:
        peer.sendall(data)
    except OSError:
        return False
    return True


def _statuses(received: bytes) -> list[int]:
    return [int(part[:3]) for part in received.split(b"HTTP/1.1 ")[1:]]


def _memory_mb(service: Service) -> float:
    with open(f"/proc/{service.process_id}/statm") as file:  # noqa: PTH123
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


TOO_LARGE: dict[str, bytes] = {
    "one field": LINE + b"X: " + b"a" * 70_000 + b"\r\n\r\n",
    "one field without end": LINE + b"X: " + b"a" * 500_000,
    "a name without end": LINE + b"a" * 500_000,
    "101 fields": LINE + b"".join(b"X%d: y\r\n" % number for number in range(100)) + b"\r\n",
    "tiny fields": LINE + b"a:b\r\n" * 50_000,
    "tiny fields of one name": LINE + b"a:\r\n" * 60_000 + b"\r\n",
    "a target": b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "a target without end": b"GET /" + b"a" * 500_000,
    "a query": b"GET /health?" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "some large fields": LINE + b"".join(b"X%d: %b\r\n" % (n, b"y" * 9_000) for n in range(9)) + b"\r\n",
    "empty lines": b"\r\n" * 300_000,
    "of an upgrade": LINE + b"Connection: Upgrade\r\nUpgrade: websocket\r\nX: " + b"a" * 70_000 + b"\r\n\r\n",
    "of a body": b"POST /migrations/verify HTTP/1.1\r\nContent-Length: 2\r\nX: " + b"a" * 70_000 + b"\r\n\r\n{}",
    "behind a whole request": LINE + b"\r\n" + LINE + b"X: " + b"a" * 500_000,
    "behind a body": b"POST /migrations/verify HTTP/1.1\r\nHost: x\r\nContent-Length: 90000\r\n\r\n"
    + b" " * 90_000
    + LINE
    + b"X: "
    + b"a" * 500_000,
}


@pytest.mark.parametrize("name", TOO_LARGE)
@pytest.mark.parametrize("size", [1_000_000, 1_000, 97], ids=["at once", "by the kilobyte", "in small pieces"])
def test_a_head_beyond_the_limit_is_431_and_the_end(service: Service, name: str, size: int) -> None:
    request = TOO_LARGE[name]
    if size == 97:
        request = request[:200_000]
    with _connect(service) as peer:
        for start in range(0, len(request), size):
            if not _send(peer, request[start : start + size]):
                break
        received = _read(peer)
    assert _statuses(received)[-1:] == [431], received[-1000:]
    last = received[received.rindex(b"HTTP/1.1 ") :]
    head, _, body = last.partition(b"\r\n\r\n")
    assert b"connection: close" in head
    assert json.loads(body)["code"] == "too_large"


@pytest.mark.parametrize("extra", [b"", b"X-Big: " + b"a" * 60_000 + b"\r\n"], ids=["small", "large"])
@pytest.mark.parametrize("fields", [1, 97])
def test_a_head_within_the_limit_is_answered(service: Service, extra: bytes, fields: int) -> None:
    head = LINE + b"".join(b"X%d: y\r\n" % number for number in range(fields)) + extra + b"\r\n"
    with _connect(service) as peer:
        for _ in range(3):  # and again, on the same connection
            for start in range(0, len(head), 20_000):
                peer.sendall(head[start : start + 20_000])
            received = b""
            while b'"version"' not in received:
                received += peer.recv(65_536)
            assert _statuses(received) == [200]


@pytest.mark.parametrize("what", ["one header", "many headers", "the target", "empty lines", "trailers"])
def test_an_endless_head_takes_no_memory_and_is_cut_off(service: Service, what: str) -> None:
    begin, block = {
        "one header": (LINE + b"X: ", b"a" * 100_000),
        "many headers": (LINE, b"a: b\r\n" * 16_000),
        "the target": (b"GET /", b"a" * 100_000),
        "empty lines": (b"", b"\r\n" * 50_000),
        "trailers": (
            b"POST /migrations/verify HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
            b"a: b\r\n" * 16_000,
        ),
    }[what]
    before = _memory_mb(service)
    with _connect(service) as peer:
        _send(peer, begin)
        sent = 0
        while _send(peer, block):
            sent += len(block)
            assert sent < 40_000_000, "it goes on for ever"
    assert _memory_mb(service) - before < 40


@pytest.mark.parametrize(
    "head", [LINE + b"X: ", b"GE", b"", b"GET / HTTP/1.1\r\nX", b"\r\n"], ids=lambda head: head[:20]
)
def test_a_head_that_never_ends_is_given_up(service: Service, head: bytes) -> None:
    began = time.monotonic()
    with _connect(service) as peer:
        _send(peer, head)
        peer.settimeout(0.5)
        while time.monotonic() - began < HEAD_S + 25:
            try:
                received = peer.recv(65_536)
            except TimeoutError:
                if head:
                    _send(peer, b"a" if head.strip() else b"\r\n")
                continue
            except ConnectionError:
                return
            assert _statuses(received) in ([], [408], [400]), received
            return
    pytest.fail("the connection is still there")


def _post(person: Person, length: int | None, target: str = "") -> bytes:
    found = person.credentials()
    target = target or httpx.URL(f"{found['url']}v3/pipeline").path
    size = b"Transfer-Encoding: chunked" if length is None else b"Content-Length: %d" % length
    return (
        f"POST {target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {found['access_token']}\r\n".encode()
        + size
        + b"\r\n\r\n"
    )


@pytest.mark.parametrize("target", ["", "/migrations/verify", "/api/auth/sign-in/email"])
@pytest.mark.parametrize("is_chunked", [False, True], ids=["with its length", "in chunks"])
def test_a_body_that_trickles_is_given_up_and_one_that_is_only_slow_is_not(
    service: Service, person: Person, target: str, is_chunked: bool
) -> None:
    with _connect(service) as trickles, _connect(service) as slow:
        _send(trickles, _post(person, None if is_chunked else 60_000, target))
        _send(slow, _post(person, None if is_chunked else 60_000, target))
        began, received = time.monotonic(), b""
        trickles.settimeout(0.1)
        for _ in range(12):  # of 5,000 bytes a second
            time.sleep(1)
            part = b" " * 5_000
            assert _send(slow, b"%x\r\n%b\r\n" % (len(part), part) if is_chunked else part)
            with contextlib.suppress(TimeoutError, ConnectionError):
                if not _statuses(received):
                    received += trickles.recv(65_536)
            _send(trickles, b"1\r\n \r\n" if is_chunked else b" ")
        if is_chunked:
            _send(slow, b"0\r\n\r\n")
        assert _statuses(received) == [408], (received, time.monotonic() - began)
        slow.settimeout(20)
        answer = slow.recv(65_536)
        assert _statuses(answer)[0] in {400, 415}, answer  # read to its end, and found to be nothing but blanks


def test_an_upload_that_stops_just_before_its_end_is_given_up(service: Service, person: Person) -> None:
    with _connect(service) as peer:
        _send(peer, _post(person, 5_000_000) + b" " * 4_900_000)
        assert _statuses(_read(peer)) == [408]


def test_bodies_of_all_connections_share_one_room_and_small_requests_need_none(
    service: Service, person: Person
) -> None:
    people = [sign_up(service.url) for _ in range(6)]
    heads = [_post(each, 9_900_000) for each in people]
    before = _memory_mb(service)
    with contextlib.ExitStack() as open_ones:
        peers = []
        for head in heads * 4:
            peer = open_ones.enter_context(_connect(service, timeout=20))
            peer.setblocking(True)
            _send(peer, head)
            peers.append(peer)
        deadline = time.monotonic() + 25
        parts = dict.fromkeys(peers, b" " * 9_000_000)
        for peer in peers:
            peer.setblocking(False)
        answers: dict[socket.socket, bytes] = {}
        while time.monotonic() < deadline and len(answers) < len(peers) - 2:
            for peer, rest in list(parts.items()):
                with contextlib.suppress(BlockingIOError, ConnectionError):
                    parts[peer] = rest[peer.send(rest[:200_000]) :] if rest else rest
                with contextlib.suppress(BlockingIOError, ConnectionError):
                    if peer not in answers and (received := peer.recv(65_536)):
                        answers[peer] = received
            assert _memory_mb(service) - before < 150
        statuses = [status for received in answers.values() for status in _statuses(received)]
        assert 429 in statuses, statuses
        assert set(statuses) <= {429, 408}, statuses
        refused = next(received for received in answers.values() if b" 429 " in received)
        assert b"retry-after: " in refused
        # Meanwhile, for everybody:
        assert run_sql(person.credentials(), "SELECT 41 + 1") == [["42"]]
        sign_up(service.url)
    # And afterwards for large ones too.
    until = time.monotonic() + 30
    while True:
        text = "x" * 2_000_000
        found = person.credentials()
        reply = httpx.post(
            f"{found['url']}v3/pipeline",
            headers={"authorization": f"Bearer {found['access_token']}"},
            json={"requests": [{"type": "execute", "stmt": {"sql": f"SELECT length('{text}')"}}]},
            timeout=30,
        )
        if reply.status_code == 200:
            break
        assert time.monotonic() < until, reply.text
        time.sleep(0.5)


@pytest.mark.timeout(300)  # through so small a window, what was sent takes up to two minutes to read
def test_a_client_that_takes_no_answers_keeps_none_waiting(service: Service, person: Person) -> None:
    found = person.credentials()
    path = httpx.URL(f"{found['url']}v3/pipeline").path
    sql = "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n+1 FROM r LIMIT 9) SELECT hex(zeroblob(400000)) FROM r"
    body = json.dumps({"requests": [{"type": "execute", "stmt": {"sql": sql}}, {"type": "close"}]}).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {found['access_token']}\r\n".encode()
    with contextlib.ExitStack() as open_ones:
        peers = [open_ones.enter_context(_connect(service)) for _ in range(3)]
        for peer in peers:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 131_072)  # with less, reading takes minutes
            _send(peer, head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        time.sleep(BODY_S + 6)
        for peer in peers:
            received = _read(peer)
            assert received.startswith(b"HTTP/1.1 200 ")
            assert len(received) < 7_000_000, "it was kept for all this time"


def test_one_address_has_so_many_connections_and_no_more(service: Service) -> None:
    with contextlib.ExitStack() as open_ones:
        peers = [open_ones.enter_context(_connect(service)) for _ in range(205)]
        peers[-1].settimeout(20)
        received = _read(peers[-1])
        assert _statuses(received) == [503], received
        assert b"retry-after: " in received
        _send(peers[0], LINE + b"\r\n")
        assert _statuses(peers[0].recv(65_536)) == [200]
    until = time.monotonic() + 20
    while True:
        try:
            assert httpx.get(f"{service.url}/health", timeout=10).status_code == 200
            break
        except (httpx.TransportError, AssertionError):
            assert time.monotonic() < until
            time.sleep(0.2)


def test_requests_sent_ahead_are_answered_in_order_up_to_a_number(service: Service) -> None:
    few = b"".join(b"GET /nothing/%d HTTP/1.1\r\nHost: x\r\n\r\n" % number for number in range(20))
    with _connect(service) as peer:
        peer.sendall(few + b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert _statuses(_read(peer)) == [404] * 20 + [200]
    before = _memory_mb(service)
    with _connect(service) as peer:
        _send(peer, (LINE + b"\r\n") * 60_000)
        statuses = _statuses(_read(peer))
    assert statuses[-1:] == [429]
    assert set(statuses[:-1]) <= {200}
    assert len(statuses) < 40_000
    assert _memory_mb(service) - before < 60


@pytest.mark.parametrize("count", [2, 20, 40, 100])
def test_a_client_that_goes_away_with_requests_waiting_is_no_fault(
    service: Service, person: Person, count: int
) -> None:
    sql = "SELECT hex(zeroblob(400000))"
    body = json.dumps({"requests": [{"type": "execute", "stmt": {"sql": sql}}, {"type": "close"}]}).encode()
    before = len(service.log())
    with contextlib.ExitStack() as open_ones:
        for _ in range(5):
            peer = open_ones.enter_context(_connect(service, timeout=1))
            _send(peer, (_post(person, len(body)) + body) * count)
        time.sleep(1)
    time.sleep(1)
    log = service.log()[before:]
    assert "Traceback" not in log, log[-3000:]
    assert '"level":"error"' not in log, log[-3000:]


def test_a_request_ends_with_its_connection_although_others_wait_behind_it(service: Service, person: Person) -> None:
    sql = "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT count(*) FROM r"
    body = json.dumps({"requests": [{"type": "execute", "stmt": {"sql": sql}}, {"type": "close"}]}).encode()
    before = len(service.log())
    peer = _connect(service)
    _send(peer, (_post(person, len(body)) + body) * 2)
    time.sleep(0.5)
    left = time.monotonic()
    peer.close()
    while not (told := [line for line in service.log()[before:].splitlines() if "pipeline" in line]):
        assert time.monotonic() - left < 30
        time.sleep(0.1)
    assert json.loads(told[0])["duration_ms"] < 4_000, "it ran to its limit"


def test_trailers_are_taken_and_mean_nothing(service: Service, person: Person) -> None:
    body = b'e\r\n{"version": 1}\r\n0\r\n'
    trailers = b"Authorization: Bearer x\r\nX-Api-Key: none\r\nCookie: a=b\r\n\r\n"
    head = b"POST /migrations/verify HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    with _connect(service) as peer:
        peer.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n" + body + trailers)
        peer.sendall(LINE + b"Connection: close\r\n\r\n")
        assert _statuses(_read(peer)) == [200, 200]

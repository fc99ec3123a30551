"""What the edge makes of bodies and addresses before auth sees them."""

from typing import Any

import pytest

from freehold.http.auth.bodies import ABSENT, Field, check
from freehold.http.auth.errors import BadField
from freehold.http.auth.replies import auth_status_of
from freehold.http.client_address import ClientAddresses

FIELDS = (Field("name"), Field("email", "email"), Field("image", is_required=False), Field("yes", "boolean", False))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (ABSENT, "[body] Invalid input: expected object, received undefined"),
        (None, "[body] Invalid input: expected object, received null"),
        ([], "[body] Invalid input: expected object, received array"),
        ("x", "[body] Invalid input: expected object, received string"),
        (1.5, "[body] Invalid input: expected object, received number"),
        (True, "[body] Invalid input: expected object, received boolean"),
        (
            {"name": 1, "email": {}},
            "[body.name] Invalid input: expected string, received number; "
            "[body.email] Invalid input: expected string, received object",
        ),
        ({"name": "", "email": ""}, "[body.email] Invalid email address"),
        ({"name": "", "email": "a@b.co", "image": None}, "[body.image] Invalid input: expected string, received null"),
        ({"name": "", "email": "a@b.co", "yes": "true"}, "[body.yes] Invalid input: expected boolean, received string"),
        ({"name": "a\0b", "email": "a@b.co"}, "[body.name] Invalid input: a NUL character is not allowed"),
    ],
)
def test_faults_are_told_in_the_words_clients_know(body: Any, message: str) -> None:
    with pytest.raises(BadField) as refused:
        check(body, FIELDS)
    assert (auth_status_of(BadField), BadField.better_auth.code) == (400, "VALIDATION_ERROR")
    assert str(refused.value) == message


def test_unknown_fields_are_dropped() -> None:
    body = {"name": "A", "email": "a@b.co", "emailVerified": True, "id": "chosen"}
    assert check(body, FIELDS) == {"name": "A", "email": "a@b.co"}


def scope(peer: str | None, forwarded: str | None) -> Any:
    headers = [] if forwarded is None else [(b"x-forwarded-for", forwarded.encode())]
    return {"type": "http", "client": (peer, 1234) if peer else None, "headers": headers}


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("10.0.0.1", "198.51.100.7", "198.51.100.7"),
        ("10.0.0.1", "198.51.100.7, 10.9.9.9", "198.51.100.7"),
        ("10.0.0.1", "1.2.3.4, 198.51.100.7", "198.51.100.7"),  # the first was invented by the client
        ("::ffff:10.0.0.1", "2001:DB8::1", "2001:db8::1"),
        ("10.0.0.1", "10.1.1.1", ""),
        ("10.0.0.1", "198.51.100.7, nonsense", ""),
        ("10.0.0.1", "", ""),
        ("10.0.0.1", None, ""),
        ("198.51.100.9", "198.51.100.7", ""),
        (None, "198.51.100.7", ""),
        ("testclient", "198.51.100.7", ""),
    ],
)
def test_a_forwarded_address_is_believed_from_our_proxies_only(
    peer: str | None, forwarded: str | None, expected: str
) -> None:
    assert ClientAddresses(["10.0.0.0/8"]).of(scope(peer, forwarded)) == expected


def test_without_proxies_of_ours_no_forwarded_address_is_believed() -> None:
    assert ClientAddresses(()).of(scope("127.0.0.1", "198.51.100.7")) == ""

"""Where a database URL leads."""

from pathlib import Path

import pytest

from freehold.libsql.errors import LibsqlError
from freehold.libsql.urls import FileUrl, RemoteUrl, parse_url


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("libsql://db.example.com", "https://db.example.com/"),
        ("libsql://db.example.com:444/", "https://db.example.com:444/"),
        ("libsql://localhost:8080?tls=0", "http://localhost:8080/"),
        ("https://db.example.com/a/b", "https://db.example.com/a/b/"),
        ("http://127.0.0.1:8000/db/x/", "http://127.0.0.1:8000/db/x/"),
        ("ws://h:1", "http://h:1/"),
        ("wss://h", "https://h/"),
        ("HTTP://[::1]:80/", "http://[::1]:80/"),
    ],
)
def test_each_scheme_is_spoken_to_over_http(url: str, base: str) -> None:
    assert parse_url(url) == RemoteUrl(base)


def test_parameters_of_the_url_win_over_arguments() -> None:
    found = parse_url("http://h/?authToken=inside&namespace=one", token="outside")
    assert found == RemoteUrl("http://h/", "inside", "one")
    assert parse_url("http://h/?authToken=", token="outside") == RemoteUrl("http://h/", "outside")


@pytest.mark.parametrize(
    ("url", "path"), [("file:a.db", "a.db"), ("file:///tmp/a.db", "/tmp/a.db"), ("file:/tmp/a%20b.db", "/tmp/a b.db")]
)
def test_a_file_url_gives_a_path(url: str, path: str) -> None:
    assert parse_url(url) == FileUrl(Path(path))


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("", "URL_UNDEFINED"),
        ("postgres://h/x", "URL_SCHEME_NOT_SUPPORTED"),
        ("db.example.com", "URL_SCHEME_NOT_SUPPORTED"),
        ("http:///x", "URL_INVALID"),
        ("http://h:port/", "URL_INVALID"),
        ("http://[::1/", "URL_INVALID"),
        ("http://user:secret@h/", "URL_INVALID"),
        ("http://h/#secret", "URL_INVALID"),
        ("http://h/?secret=1", "URL_PARAM_NOT_SUPPORTED"),
        ("http://h/?tls=secret", "URL_INVALID"),
        ("http://h/?tls=1", "URL_INVALID"),
        ("https://h/?tls=0", "URL_INVALID"),
        ("libsql://h/?tls=0", "URL_INVALID"),
        ("file://host/a.db", "URL_INVALID"),
        ("file:", "URL_INVALID"),
        ("file::memory:", "URL_INVALID"),
        ("file:a.db?mode=ro", "URL_PARAM_NOT_SUPPORTED"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_without_repeating_it(url: str, code: str) -> None:
    with pytest.raises(LibsqlError) as caught:
        parse_url(url)
    assert caught.value.code == code
    assert "secret@" not in str(caught.value)
    assert "=secret" not in str(caught.value)


def test_a_token_is_not_shown() -> None:
    assert "hidden" not in repr(parse_url("http://h/?authToken=hidden"))

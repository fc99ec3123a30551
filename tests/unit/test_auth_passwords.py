"""Password rules, better-auth's hash format, and hashing that neither piles up nor gives users away."""

import asyncio
import json
import os
import sys
import threading
from pathlib import Path

import pytest

from freehold.auth.errors import PasswordTooLong, PasswordTooShort
from freehold.auth.passwords.passwords import ScryptHasher, check_new_password, hash_password, verify_password
from freehold.errors import Unavailable

VECTORS = json.loads((Path(__file__).parents[1] / "contract/captures/better_auth.json").read_text())["vectors"]


@pytest.mark.parametrize("name", ["password", "password_unicode"])
def test_verifies_the_hashes_that_better_auth_made(name: str) -> None:
    vector = VECTORS[name]
    password = vector.get("password", "")
    assert verify_password(password, vector["hash"])
    assert not verify_password(password + "x", vector["hash"])
    salt = vector["hash"].split(":")[0]
    assert hash_password(password, salt) == vector["hash"]


def test_two_hashes_of_a_password_differ() -> None:
    assert hash_password("correct-horse-1") != hash_password("correct-horse-1")


@pytest.mark.parametrize("stored", ["", ":", "abc", "zz:zz", "a:b:c", "é:ü", "0" * 200])
def test_a_hash_of_another_form_matches_nothing(stored: str) -> None:
    assert not verify_password("correct-horse-1", stored)


@pytest.mark.parametrize("password", ["x" * 8, "x" * 128, "😀" * 4, "😀" * 64, "\ud800" * 8])
def test_takes_8_to_128_characters_as_browsers_count_them(password: str) -> None:
    check_new_password(password)


@pytest.mark.parametrize(
    ("password", "error"),
    [("", PasswordTooShort), ("x" * 7, PasswordTooShort), ("x" * 129, PasswordTooLong), ("😀" * 65, PasswordTooLong)],
)
def test_refuses_what_is_shorter_or_longer(password: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        check_new_password(password)


async def test_hashes_and_verifies() -> None:
    hasher = ScryptHasher(threads=2)
    stored = await hasher.hash("correct-horse-1")
    assert await hasher.verify("correct-horse-1", stored)
    assert not await hasher.verify("wrong-horse-1", stored)
    assert not await hasher.verify("correct-horse-1", None)
    hasher.close()


async def test_refuses_at_once_when_too_many_wait_and_recovers() -> None:
    hasher = ScryptHasher(threads=1, waiting_per_thread=2)
    outcomes = await asyncio.gather(*(hasher.hash("correct-horse-1") for _ in range(6)), return_exceptions=True)
    refused = [outcome for outcome in outcomes if isinstance(outcome, Unavailable)]
    assert len(refused) == 3
    assert ":" in await hasher.hash("correct-horse-1")
    hasher.close()


async def test_a_caller_that_gives_up_frees_its_place() -> None:
    hasher = ScryptHasher(threads=1, waiting_per_thread=1)
    tasks = [asyncio.create_task(hasher.hash("correct-horse-1")) for _ in range(2)]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert ":" in await hasher.hash("correct-horse-1")
    hasher.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only there has a thread a priority of its own")
async def test_threads_that_hash_give_way_and_nobody_else_does() -> None:
    hasher = ScryptHasher(threads=1)
    try:
        before = os.getpriority(os.PRIO_PROCESS, 0)
        of_hasher = await asyncio.get_running_loop().run_in_executor(
            hasher._executor, lambda: os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
        )
        assert of_hasher > before or before == 19
        assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before
    finally:
        hasher.close()

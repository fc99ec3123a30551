"""`freehold users create-admin` as an operator runs it, and the script of the same purpose."""

import asyncio
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from testbed.servers import ROOT, Service

from freehold.auth.types import Client
from freehold.settings.load import load_settings
from freehold.wiring.services import open_services
from tests.support.auth_app import QuickHasher, auth_parts

PASSWORD = "correct-horse-1"


@pytest.fixture
def installation(tmp_path: Path) -> Service:
    """Never started: the command works on the data alone."""
    tmp_path.joinpath("data").mkdir()
    return Service(tmp_path)


def create_admin(installation: Service, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return installation.run("users", "create-admin", *words, stdin=stdin)


def test_an_admin_is_made_once_and_can_sign_in(installation: Service) -> None:
    made = create_admin(installation, "Ada@example.com", "--password-stdin", "--json", stdin=f"{PASSWORD}\n")
    assert (made.returncode, made.stderr) == (0, "")
    assert msgspec.json.decode(made.stdout) == {"email": "ada@example.com", "outcome": "created"}
    again = create_admin(installation, "ada@example.com")  # asks for nothing: there is no terminal to answer
    assert again.returncode == 0
    assert "nothing changed" in again.stdout

    async def sign_in() -> bool:
        async with open_services(load_settings(installation.environ)) as services:
            signed_in = await services.auth.sign_in("ada@example.com", PASSWORD, Client())
            return signed_in.user.is_admin

    assert asyncio.run(sign_in())


def test_an_ordinary_user_is_promoted_only_when_that_is_asked(installation: Service) -> None:
    async def sign_up() -> None:
        from freehold.auth.types import NewUser

        path = installation.data_dir / "central.db"
        async with auth_parts(path, hasher=QuickHasher()) as (auth, *_):
            await auth.sign_up(NewUser(name="Ada", email="ada@example.com", password=PASSWORD), Client())

    asyncio.run(sign_up())
    refused = create_admin(installation, "ada@example.com")
    assert refused.returncode == 1
    assert "--promote" in refused.stderr
    promoted = create_admin(installation, "ada@example.com", "--promote", "--json")
    assert msgspec.json.decode(promoted.stdout) == {"email": "ada@example.com", "outcome": "promoted"}


@pytest.mark.parametrize(
    ("words", "stdin", "code", "told"),
    [
        (["nope", "--password-stdin"], f"{PASSWORD}\n", 1, "`nope` is not an e-mail address"),
        (["a@b.co", "--password-stdin"], "short\n", 1, "at least 8 characters"),
        (["a@b.co", "--password-stdin"], "", 1, "at least 8 characters"),
        (["a@b.co"], "", 1, ""),
        ([], "", 2, "Missing argument 'EMAIL'"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    installation: Service, words: list[str], stdin: str, code: int, told: str
) -> None:
    refused = create_admin(installation, *words, stdin=stdin)
    assert refused.returncode == code
    assert told in refused.stderr
    assert "Traceback" not in refused.stderr
    assert PASSWORD not in refused.stdout + refused.stderr


def test_the_script_does_the_same(installation: Service) -> None:
    made = subprocess.run(
        [sys.executable, ROOT / "scripts/create_admin_user.py", "ada@example.com", "--password-stdin"],
        cwd=installation.folder,
        env=installation.environ,
        input=f"{PASSWORD}\n",
        capture_output=True,
        text=True,
        check=False,
    )
    assert (made.returncode, made.stdout) == (0, "ada@example.com is now an administrator\n")


def test_help_shows_examples(installation: Service) -> None:
    told = create_admin(installation, "--help")
    assert told.returncode == 0
    assert "freehold users create-admin ada@example.com" in told.stdout

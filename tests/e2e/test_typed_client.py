"""The wheel tells a type checker the SDK's types, and holds no file that is only for contributors."""

import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
from testbed.servers import ROOT, clean_environ

_APP = """
from freehold.client import FreeholdClient, VerifiedRegistry
from freehold.libsql.client import create_client

async def main() -> None:
    async with FreeholdClient("http://127.0.0.1:8000") as freehold:
        reveal_type(freehold)
        credentials = await freehold.credentials()
        reveal_type(credentials)
        reveal_type((await freehold.migrate()).version)
        await freehold.sign_in("amal@example.com", 12345678)
    async with create_client(credentials.url, auth_token=credentials.access_token) as db:
        reveal_type(await db.execute("SELECT 1"))
"""
_REVEALED = [
    "freehold.client.client.FreeholdClient",
    "freehold.wire.DatabaseCredentials",
    "int",
    "freehold.libsql.result.ResultSet",
]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "-q", "--no-deps"]
    subprocess.run([*command, "--no-build-isolation", "-w", folder, ROOT], check=True, timeout=120)
    [built] = folder.glob("freehold-*.whl")
    return built


def test_the_wheel_says_that_it_is_typed_and_leaves_the_design_notes_out(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert "freehold/py.typed" in names
    assert list((ROOT / "src").rglob("DESIGN.md"))
    assert [name for name in names if name.endswith(".md") and name.startswith("freehold/")] == []


@pytest.mark.timeout(300)  # mypy reads the SDK's dependencies with an empty cache
def test_mypy_finds_the_types_of_the_client_in_an_installed_wheel(wheel: Path, tmp_path: Path) -> None:
    home = tmp_path / "venv"
    venv.create(home, symlinks=True)
    [packages] = home.glob("lib/python*/site-packages")
    zipfile.ZipFile(wheel).extractall(packages)
    # What Freehold needs is ours; ours too is an editable Freehold, which a path in a file does not bring along.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    (tmp_path / "app.py").write_text(_APP)
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--python-executable", home / "bin/python", "app.py"],
        cwd=tmp_path,
        env=clean_environ(),
        capture_output=True,
        text=True,
        check=False,
    )
    notes = [line for line in checked.stdout.splitlines() if ": note: Revealed type is" in line]
    assert [line.partition('is "')[2].removeprefix("builtins.").rstrip('"') for line in notes] == _REVEALED
    errors = [line for line in checked.stdout.splitlines() if ": error: " in line]
    assert len(errors) == 1, checked.stdout + checked.stderr
    assert 'has incompatible type "int"; expected "str"' in errors[0]

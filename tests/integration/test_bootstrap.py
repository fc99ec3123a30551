"""What the first start makes, and what a start with something wrong says."""

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from testbed.servers import ROOT

from freehold.keys import BadKeyFile
from freehold.settings.fields import BadSettings, Settings
from freehold.settings.load import load_settings
from freehold.wiring.services import open_services


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    structlog.configure(processors=[lambda _logger, _name, _event: ""])
    yield
    structlog.reset_defaults()


def settings(data_dir: Path, **more: str) -> Settings:
    return load_settings({"DATA_DIR": str(data_dir), "SCHEMA_REGISTRY": str(ROOT / "schema_registry/bahar"), **more})


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_the_first_start_makes_keys_that_only_their_owner_reads_and_the_second_uses_them(tmp_path: Path) -> None:
    data = tmp_path / "deep" / "data"
    found: list[dict[str, bytes]] = []
    for _ in range(2):
        async with open_services(settings(data)):
            found.append({path.name: path.read_bytes() for path in (data / "keys").iterdir()})
    assert sorted(found[0]) == ["auth-secret", "database-tokens.pem", "registry.pem"]
    assert found[0] == found[1]
    assert _mode(data) == 0o700
    assert {_mode(path) for path in (data / "keys").iterdir()} == {0o600}


async def test_a_data_dir_that_cannot_be_made_is_a_fault_of_the_setting(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadSettings, match="DATA_DIR"):
        async with open_services(settings(tmp_path / "file" / "data")):
            pass


@pytest.mark.parametrize("content", ["", "nonsense", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"])
async def test_a_damaged_key_file_is_named_and_never_replaced(tmp_path: Path, content: str) -> None:
    async with open_services(settings(tmp_path)):
        pass
    key = tmp_path / "keys/database-tokens.pem"
    key.write_text(content)
    with pytest.raises(BadKeyFile, match=r"database-tokens\.pem"):
        async with open_services(settings(tmp_path)):
            pass
    assert key.read_text() == content


async def test_a_damaged_secret_is_named(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys/auth-secret").write_text("short")
    with pytest.raises(BadKeyFile, match="auth-secret"):
        async with open_services(settings(tmp_path)):
            pass


async def test_a_signing_key_elsewhere_must_exist(tmp_path: Path) -> None:
    missing = tmp_path / "nowhere.pem"
    with pytest.raises(BadSettings, match=r"REGISTRY_SIGNING_KEY_FILE: .*nowhere\.pem"):
        async with open_services(settings(tmp_path, REGISTRY_SIGNING_KEY_FILE=str(missing))):
            pass
    assert not missing.exists()


async def test_the_registry_is_published_once(tmp_path: Path) -> None:
    async with open_services(settings(tmp_path)) as services:
        first = await services.publish_registry()
        again = await services.publish_registry()
    assert first is not None
    assert again is not None
    assert (len(first.published), again.published) == (first.version, ())


async def test_where_the_key_is_elsewhere_no_files_are_needed(tmp_path: Path) -> None:
    nowhere = {"REGISTRY_SIGNING": "external", "SCHEMA_REGISTRY": str(tmp_path / "nowhere")}
    async with open_services(settings(tmp_path, **nowhere)) as services:
        assert await services.publish_registry() is None


async def test_a_central_database_in_no_folder_is_a_fault_of_the_setting(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match="DATABASE_URL"):
        async with open_services(settings(tmp_path, DATABASE_URL=f"sqlite:///{tmp_path}/none/x.db")):
            pass

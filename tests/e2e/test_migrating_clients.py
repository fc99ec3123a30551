"""Apps bring their users' databases to the newest version themselves, with the tokens that they have by default."""

import shutil
from collections.abc import Iterator

import httpx
import pytest
from testbed.servers import ROOT, Service
from testbed.sqld import running_sqld
from testbed.sqld_service import sqld_variables

from freehold.client import FreeholdClient
from tests.e2e.attack_world import HOMES
from tests.e2e.people import PASSWORD, Person, run_sql, sign_up

FILES = sorted((ROOT / "schema_registry/bahar").glob("*.sql"))


@pytest.fixture(scope="module", params=HOMES)
def people(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Person]]:
    """One for each version of the registry, who came when that was the newest; by now all are published."""
    folder = tmp_path_factory.mktemp("growing")
    registry = folder / "registry"
    registry.mkdir()
    shutil.copy(FILES[0], registry)

    def came(service: Service) -> Iterator[Person]:
        for version, file in enumerate(FILES, start=1):
            shutil.copy(file, registry)
            done = service.run("registry", "publish")
            assert done.returncode == 0, done.stderr
            person = sign_up(service.url)
            assert person.credentials()["schema_version"] == version
            yield person

    if request.param == "local":
        service = Service(folder, SCHEMA_REGISTRY=str(registry)).start()
        yield list(came(service))
        service.stop()
        return
    with running_sqld() as sqld:
        service = Service(folder, SCHEMA_REGISTRY=str(registry), **sqld_variables(sqld)).start()
        yield list(came(service))
        service.stop()


async def test_from_every_version_with_a_token_that_changes_rows_alone(people: list[Person]) -> None:
    newest = len(FILES)
    for version, person in enumerate(people, start=1):
        before = person.credentials()
        assert (before["profile"], before["access_level"]) == ("rows", "full")
        async with FreeholdClient(person.url) as freehold:
            await freehold.sign_in(person.email, PASSWORD)
            done = await freehold.migrate()
            assert (done.version, done.applied) == (newest, tuple(range(version + 1, newest + 1)))
            assert (await freehold.migrate()).applied == ()
        assert run_sql(before, "SELECT count(*) FROM freehold_ledger") == [[str(newest)]]
        refused = httpx.post(
            f"{before['url']}v1/execute",
            headers={"authorization": f"Bearer {before['access_token']}"},
            json={"stmt": {"sql": "DROP TABLE settings"}},
        )
        assert refused.json()["code"] == "PROFILE_NEEDED"
    schemas = {str(run_sql(each.credentials(), "SELECT sql FROM sqlite_schema ORDER BY name")) for each in people}
    assert len(schemas) == 1

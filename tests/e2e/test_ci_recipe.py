"""docs/ci.md and the workflow do what they say: the recipe is run as a CI would run it."""

import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import click
import pytest
import yaml  # type: ignore[import-untyped]
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from testbed.servers import FREEHOLD, ROOT, clean_environ, missing, require

from freehold.cli.main import cli
from freehold.providers.engines.engines import ENGINES, EngineMissing, require_engines
from tests.e2e.releases import Publisher

PAGE = (ROOT / "docs/ci.md").read_text()
WORKFLOW = (ROOT / ".github/workflows/registry.yml").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
NEW = "-- description: Notes of a learner\nCREATE TABLE notes (id TEXT NOT NULL PRIMARY KEY, body TEXT NOT NULL);\n"


class Repository:
    """A clone with a remote, as CI checks it out."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "clone"
        self.files = self.folder / "registry"
        self.remote = folder / "remote.git"
        self.key_file = folder / "registry.pem"
        self.environ = clean_environ(SCHEMA_REGISTRY="registry", REGISTRY_KEY=str(self.key_file))
        self.environ["PATH"] = f"{FREEHOLD.parent}:{self.environ['PATH']}"
        self.folder.mkdir()
        shutil.copytree(ROOT / "schema_registry/bahar", self.files)
        self.key_file.write_bytes(
            Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
        self.run(f"git init -q --bare {self.remote}; git init -q; git remote add origin {self.remote}")
        self.commit("the registry as it is")
        self.run("git push -q origin HEAD:main")

    def commit(self, message: str) -> None:
        who = "-c user.name=a -c user.email=a@example.com"
        self.run(f"git add -A && git {who} commit -qm '{message}'")

    def run(self, script: str) -> str:
        done = self.try_to(script)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def try_to(self, script: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.folder,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
        )


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    require("git")
    try:
        require_engines(ENGINES)
    except EngineMissing as error:
        missing(str(error))
    return Repository(tmp_path)


def test_the_recipe_checks_a_pull_request_and_publishes_it(repository: Repository) -> None:
    (repository.files / "0010_create_notes.sql").write_text(NEW)
    assert repository.try_to(BLOCKS[0]).returncode == 1  # not sealed
    repository.run("freehold registry seal")
    repository.commit("add notes")
    repository.run(BLOCKS[0])
    repository.run("git push -q origin HEAD:main")

    publisher = Publisher(repository.folder.parent / "service")
    [token] = publisher.ci.values()
    repository.environ |= {"SERVICE_URL": publisher.service.url, "REGISTRY_TOKEN": token}
    published = repository.run(BLOCKS[1])
    assert "published 0010_create_notes.sql" in published
    assert "0010  published" in published
    first = publisher.page()
    assert first["version"] == 10
    repository.run(BLOCKS[1])  # on a schedule: renews the signature
    again = publisher.page()
    assert (again["version"], again["chain"]) == (10, first["chain"])
    assert again["counter"] > first["counter"]
    # CI holds no database of the service, and did not make one either.
    assert not (repository.folder / "data").exists()

    # Another commit meanwhile; then the job of this one is run again.
    (repository.files / "0011_create_more.sql").write_text(NEW.replace("notes", "more"))
    repository.run(BLOCKS[1])
    (repository.files / "0011_create_more.sql").unlink()
    refused = repository.try_to(BLOCKS[1])
    assert (refused.returncode, "has all of them" in refused.stderr) == (1, True)
    assert publisher.version == 11
    publisher.service.stop()


def test_the_recipe_publishes_without_a_running_service(repository: Repository) -> None:
    repository.environ["DATA_DIR"] = str(repository.folder.parent / "data")
    assert "published 0009_" in (published := repository.run(BLOCKS[2]))
    assert "0009  published" in published
    repository.run(BLOCKS[2])


def test_the_recipe_refuses_a_pull_request_that_edits_what_main_has(repository: Repository) -> None:
    path = repository.files / "0003_create_decks.sql"
    path.write_text(path.read_text().replace("position", "place"))
    repository.run("freehold registry seal --again 3")
    repository.commit("edit history")
    refused = repository.try_to(BLOCKS[0])
    assert refused.returncode == 1
    assert "0003_create_decks.sql: error FH023 edited" in refused.stderr


def test_the_workflow_runs_the_same_commands_with_options_that_exist() -> None:
    commands = re.findall(r"freehold (registry \w+)([^\n>|#`]*)", WORKFLOW + PAGE)
    verbs = {verb for verb, _ in commands}
    assert {"registry lint", "registry test", "registry sign", "registry publish", "registry status"} <= verbs
    for verb, rest in commands:
        command: click.Command = cli
        for name in verb.split():
            assert isinstance(command, click.Group)
            found = command.get_command(click.Context(command), name)
            assert found is not None, verb
            command = found
        known = {option for parameter in command.params for option in parameter.opts}
        assert set(re.findall(r"--[a-z-]+", rest)) <= known, (verb, rest)
    used = set(re.findall(r"^ +([A-Z_]+):", WORKFLOW, re.MULTILINE))
    assert used - {"SCHEMA_REGISTRY"} == set(re.findall(r"^\| `([A-Z_]+)` \|", PAGE, re.MULTILINE))
    # Nothing of the service's own is given to a CI.
    assert not re.findall("DATABASE|AUTH_SECRET", WORKFLOW)


class Elsewhere:
    """Somebody's own repository, and a CI's machine on which nothing but Python and Freehold's dependencies is."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "app"
        self.files = self.folder / "schema_registry/app"
        self.files.mkdir(parents=True)
        (self.files / "0001_create_notes.sql").write_text(NEW)
        self.python = folder / "python"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", self.python], check=True, timeout=60)
        # What an index would give; Freehold itself is not among it.
        index = folder / "index"
        index.mkdir()
        installed = Path(sysconfig.get_path("purelib"))
        for each in installed.iterdir():
            if "freehold" not in each.name and each.suffix != ".pth":
                (index / each.name).symlink_to(each)
        [packages] = self.python.glob("lib/python*/site-packages")
        (packages / "index.pth").write_text(str(index))
        wheels = folder / "wheels"
        wheel = ["wheel", "-q", "--no-deps", "--no-build-isolation", "-w", wheels, ROOT]
        self._run([sys.executable, "-m", "pip", *wheel])
        [self.wheel] = wheels.glob("freehold-*.whl")
        self.environ = clean_environ(
            FREEHOLD=self.wheel.as_uri(),
            SCHEMA_REGISTRY="schema_registry/app",
            RUNNER_TEMP=str(folder),
            PIP_NO_INDEX="1",
            PIP_DISABLE_PIP_VERSION_CHECK="1",
        )
        self.environ["PATH"] = f"{self.python / 'bin'}:{self.environ['PATH']}"

    def step(self, script: str, **variables: str) -> str:
        return self._run(["bash", "-euo", "pipefail", "-c", script], {**self.environ, **variables})

    def _run(self, words: list[object], environ: dict[str, str] | None = None) -> str:
        done = subprocess.run(
            [str(word) for word in words], cwd=self.folder, env=environ or clean_environ(),
            capture_output=True, text=True, timeout=200, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{words}: {done.stdout[-1000:]}{done.stderr[-2000:]}"
        return done.stdout


def steps_of(job: str, **contexts: str) -> list[str]:
    """The commands of a job of the workflow, with what GitHub puts into them."""
    text = yaml.safe_load(WORKFLOW)["jobs"][job]
    scripts = [step["run"] for step in text["steps"] if "run" in step]
    return [re.sub(r"\$\{\{ *([a-z._]+) *\}\}", lambda found: contexts[found[1]], script) for script in scripts]


@pytest.mark.timeout(500)
def test_the_workflow_works_in_a_repository_of_ones_own_with_the_wheel(tmp_path: Path) -> None:
    require("git")
    there = Elsewhere(tmp_path)
    who = "git -c user.name=a -c user.email=a@example.com"
    remote = tmp_path / "remote.git"
    there.step(f"git init -q -b main; git init -q --bare {remote}; git remote add origin {remote}")

    install, lint, trial = steps_of("check", **{"github.base_ref": "main"})
    inline = re.findall(r"`(python -m pip install [^`]+)`", PAGE)
    assert inline == [install]  # the page shows what the workflow does
    there.step(install)
    assert there.step("python -c 'import freehold; print(freehold.__file__)'").startswith(str(there.python))
    there.step(f"freehold registry seal; git add -A; {who} commit -qm first; git push -q origin main")
    there.step(lint)
    there.step(trial)

    key = there.step("openssl genpkey -algorithm ed25519")
    publisher = Publisher(tmp_path / "service")
    [token] = publisher.ci.values()
    secrets = {"SERVICE_URL": publisher.service.url, "REGISTRY_TOKEN": token, "REGISTRY_KEY": key}
    for script in steps_of("publish")[1:]:
        told = there.step(script, **secrets)
    assert "0001  published" in told
    assert publisher.version == 1
    publisher.service.stop()
    assert not (there.folder / "data").exists()


def test_the_workflow_takes_where_freehold_and_the_migrations_are_from_variables_of_the_repository() -> None:
    environ = yaml.safe_load(WORKFLOW)["env"]
    assert environ["FREEHOLD"].startswith("${{ vars.FREEHOLD || ")
    assert environ["SCHEMA_REGISTRY"].startswith("${{ vars.SCHEMA_REGISTRY || ")
    installs = [steps_of(job, **{"github.base_ref": "main"})[0] for job in ("check", "publish")]
    assert all(" @ $FREEHOLD" in each for each in installs)

"""Clients that others' generators make of `/schema`: complete, without a warning, and good for real calls."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from testbed.servers import Service, clean_environ, missing, require

from tests.e2e.attack_documented import description_of

_HERE = Path(__file__).parent
_TOOLS = Path(sys.prefix) / "tools"
_NODE = _HERE / "node"
_SCRIPT = "openapi_client.ts"
_STRICT = {
    "strict": True,
    "noUncheckedIndexedAccess": True,
    "skipLibCheck": True,
    "target": "es2022",
    "module": "nodenext",
    "lib": ["es2022", "dom"],
    "types": [],
}
_PASSWORD = "correct horse battery 9"


@pytest.fixture(scope="module")
def described(service: Service) -> dict[str, Any]:
    """The description as the running service has it."""
    found: dict[str, Any] = httpx.get(f"{service.url}/schema/openapi.json", timeout=30).json()
    return found


@pytest.fixture
def file(described: dict[str, Any], tmp_path: Path) -> Path:
    path = tmp_path / "openapi.json"
    path.write_text(json.dumps(described))
    return path


def run(*words: str, folder: Path, **environ: str) -> str:
    """What a program prints. It has to end well."""
    done = subprocess.run(
        words, cwd=folder, env=clean_environ(**environ), capture_output=True, text=True, timeout=200, check=False
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert not re.search("warning|unable|unsupported|skipping", said, re.IGNORECASE), said
    return done.stdout


def operations(described: dict[str, Any]) -> set[str]:
    """The ids of all operations."""
    return {
        operation["operationId"]
        for item in described["paths"].values()
        for operation in item.values()
        if isinstance(operation, dict)
    }


def check_calls(printed: str, service: Service, email: str) -> None:
    """The program has signed up, got a database and used it, pulled the registry, and read every form of error."""
    found = json.loads(printed)
    assert found.pop("userId") in service.run("tenants", "list", "--json").stdout, email
    assert re.fullmatch(r"[a-z0-9-]{1,63}", found.pop("name"))
    assert "no such table: nowhere" in found.pop("failed")
    assert found == {
        "row": "42",
        "version": 9,
        "release": "freehold-registry-v3",
        "forbidden": [403, "forbidden", "Forbidden"],
        "unauthenticated": [401, "unauthenticated"],
        "wrong": [401, "INVALID_EMAIL_OR_PASSWORD"],
        "hrana": [401, "BAD_DATABASE_TOKEN"],
    }


@pytest.mark.timeout(400)
def test_a_python_client_is_generated_whole_and_works(
    service: Service, described: dict[str, Any], file: Path, tmp_path: Path
) -> None:
    if not _TOOLS.is_dir():
        missing("openapi-python-client is not installed: run `make test` once")
    (tmp_path / "config.json").write_text('{"post_hooks": []}')
    package = tmp_path / "freehold_client"
    run(
        *(sys.executable, "-m", "openapi_python_client", "generate", "--meta", "none"),
        *("--path", str(file), "--config", "config.json", "--output-path", str(package), "--fail-on-warning"),
        folder=tmp_path,
        PYTHONPATH=str(_TOOLS),
    )
    modules = {path.stem for path in (package / "api").glob("*/*.py")} - {"__init__"}
    assert modules == operations(described)
    printed = run(
        *(sys.executable, str(_HERE / "openapi_client.py"), service.url, "ada@example.com", _PASSWORD),
        folder=tmp_path,
        PYTHONPATH=str(tmp_path),
    )
    check_calls(printed, service, "ada@example.com")


@pytest.mark.timeout(400)
def test_a_typescript_client_is_generated_whole_and_works(
    service: Service, described: dict[str, Any], file: Path, tmp_path: Path
) -> None:
    node, programs = require("node"), _NODE / "node_modules"
    if not (programs / "openapi-typescript").is_dir():
        missing("openapi-typescript is not installed: run `make test` once")
    (tmp_path / "node_modules").symlink_to(programs)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "tsconfig.json").write_text(json.dumps({"compilerOptions": _STRICT, "files": [_SCRIPT]}))
    shutil.copy(_NODE / _SCRIPT, tmp_path)
    run(node, str(programs / "openapi-typescript/bin/cli.js"), str(file), "-o", "api.d.ts", folder=tmp_path)
    types = (tmp_path / "api.d.ts").read_text()
    _, _, listed = types.partition("export interface operations {")
    assert set(re.findall(r"^    (\w+): \{$", listed, re.MULTILINE)) == operations(described)
    run(node, str(programs / "typescript/bin/tsc"), folder=tmp_path)
    printed = run(node, "openapi_client.js", service.url, "ben@example.com", _PASSWORD, folder=tmp_path)
    check_calls(printed, service, "ben@example.com")


def test_the_description_is_one_that_other_programs_can_rely_on(described: dict[str, Any]) -> None:
    """Ids and titles name one thing each; every reference leads somewhere; whoever may not gets the right form."""
    ids = [
        operation["operationId"]
        for item in described["paths"].values()
        for method, operation in item.items()
        if method != "parameters"
    ]
    assert len(ids) == len(set(ids)) > 100
    schemas = described["components"]["schemas"]
    titles = [schema["title"] for schema in schemas.values() if "title" in schema]
    assert len(titles) == len(set(titles))
    for reference in set(re.findall(r'"(#/components/[^"]+)"', json.dumps(described))):
        found: Any = described
        for step in reference.split("/")[1:]:
            found = found[step]
    schemes = described["components"]["securitySchemes"]
    for path, item in described["paths"].items():
        for method, operation in item.items():
            if method == "parameters":
                continue
            responses, callers = operation["responses"], operation.get("security", [])
            assert all(scheme in schemes for each in callers for scheme in each), path
            assert ("401" in responses) or not callers or {} in callers, path
            for status, response in responses.items():
                if int(status) < 400 or "$ref" not in response:
                    continue
                name = response["$ref"].rpartition("/")[2]
                form = (
                    "HranaError"
                    if path.startswith("/db/")
                    else "AuthError"
                    if path.startswith("/api/auth/")
                    else "Problem"
                )
                assert name == f"{form}{status}", (path, status)
                shared = described["components"]["responses"][name]
                [(media_type, _)] = shared["content"].items()
                assert (media_type == "application/problem+json") is (form == "Problem")
                assert ("Retry-After" in shared.get("headers", {})) is (status in {"429", "503"})


def test_an_answer_that_is_not_listed_is_noticed(described: dict[str, Any]) -> None:
    """What every attack on the running service is held to, see `attack_wire`."""
    description = description_of(described)
    assert description.missing("GET", "/databases/user?access_level=full", 200) == ""
    assert "does not list 401" in description.missing("GET", "/health", 401)
    assert "does not list 418" in description.missing("POST", "/db/t-1/v3/pipeline", 418)
    assert "does not list 409" in description.missing("GET", "/migrations/full", 409)
    assert "does not list 500" in description.missing("GET", "/migrations/7", 500)
    assert description.missing("PUT", "/health", 405) == description.missing("GET", "/nowhere", 404) == ""


def test_the_description_is_the_same_in_both_languages(service: Service, described: dict[str, Any]) -> None:
    for path in ("/schema", "/schema/openapi.json"):
        assert httpx.get(f"{service.url}{path}", timeout=30).json() == described
    text = httpx.get(f"{service.url}/schema/openapi.yaml", timeout=30).text
    assert text.count("operationId: ") == len(operations(described))

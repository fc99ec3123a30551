"""Settings: every fault at once, in our words, and never a secret."""

import ast
from pathlib import Path

import msgspec
import pytest
from testbed.servers import ROOT

from freehold.settings.fields import BadSettings, Secret, Settings
from freehold.settings.load import load_settings


def test_every_setting_is_read() -> None:
    """One that its wiring forgot would do nothing, and no other test need notice."""
    read = {
        node.attr
        for path in (ROOT / "src/freehold").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
    }
    assert [each.name for each in msgspec.structs.fields(Settings) if each.name not in read] == []


def test_nothing_set_gives_the_embedded_default() -> None:
    settings = load_settings({})
    assert (settings.host, settings.port, settings.tenant_provider) == ("127.0.0.1", 8000, "local")
    assert settings.public_url == "http://127.0.0.1:8000"


def test_an_empty_value_counts_as_unset() -> None:
    assert load_settings({"PORT": "", "LOG_LEVEL": " "}).port == 8000


def test_every_bad_variable_is_reported_at_once_one_line_each() -> None:
    with pytest.raises(BadSettings) as caught:
        load_settings({"PORT": "abc", "LOG_LEVEL": "loud", "TENANT_MAX_SIZE_MB": "0", "BETTER_AUTH_SECRET": "short"})
    named = [fault.split(":")[0] for fault in caught.value.faults]
    assert sorted(named) == ["BETTER_AUTH_SECRET", "LOG_LEVEL", "PORT", "TENANT_MAX_SIZE_MB"]
    assert all("\n" not in fault for fault in caught.value.faults)


def test_a_fault_says_what_was_expected_and_what_came() -> None:
    with pytest.raises(BadSettings, match=r"PORT: expected .*`abc`"):
        load_settings({"PORT": "abc"})


@pytest.mark.parametrize("port", ["-1", "65536", "80.5", "٨٠", "0x50"])
def test_a_port_that_is_none_is_refused(port: str) -> None:
    with pytest.raises(BadSettings, match="PORT"):
        load_settings({"PORT": port})


def test_a_bad_secret_is_named_but_never_shown() -> None:
    with pytest.raises(BadSettings) as caught:
        load_settings({"BETTER_AUTH_SECRET": "hunter2"})
    assert "BETTER_AUTH_SECRET" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_secret_prints_as_stars_everywhere() -> None:
    settings = load_settings({"BETTER_AUTH_SECRET": "s" * 40})
    assert "ssss" not in f"{settings} {settings!r} {settings.better_auth_secret} {settings.better_auth_secret!r}"
    assert f"{settings.better_auth_secret:>5}" == "  ***"
    assert settings.better_auth_secret.reveal() == "s" * 40
    assert Secret("") == ""


@pytest.mark.parametrize("url", ["postgres://db/x", "mysql://h/d", "central.db", "sqlite://central.db"])
def test_a_central_database_of_another_kind_is_refused_with_what_is_expected(url: str) -> None:
    with pytest.raises(BadSettings, match="DATABASE_URL: expected"):
        load_settings({"DATABASE_URL": url})


def test_a_database_url_with_a_password_is_not_echoed() -> None:
    with pytest.raises(BadSettings) as caught:
        load_settings({"DATABASE_URL": "postgres://me:hunter2@db/x"})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("url", ["auth.example.com", "https://a.example/path", "ftp://a.example", "https://"])
def test_the_public_url_must_be_an_origin(url: str) -> None:
    with pytest.raises(BadSettings, match="BETTER_AUTH_URL"):
        load_settings({"BETTER_AUTH_URL": url})


def test_lists_are_split_at_commas() -> None:
    origins = load_settings({"TRUSTED_ORIGINS": "https://a.example/, http://b.example ,"}).trusted_origins
    assert origins == ("https://a.example/", "http://b.example")


def test_paths_may_start_at_home() -> None:
    assert load_settings({"DATA_DIR": "~/freehold"}).data_dir == Path.home() / "freehold"


def test_every_bad_proxy_is_named() -> None:
    with pytest.raises(BadSettings) as caught:
        load_settings({"TRUSTED_PROXIES": "10.0.0.1, 10.0.0.0/8, ::1, nonsense, 300.1.1.1"})
    assert [fault.split("`")[1] for fault in caught.value.faults] == ["nonsense", "300.1.1.1"]


def test_an_apps_own_scheme_stays_whole() -> None:
    assert load_settings({"TRUSTED_ORIGINS": "myapp://"}).trusted_origins == ("myapp://",)


def test_on_loopback_localhost_is_the_same_service() -> None:
    assert load_settings({}).own_origins == ("http://127.0.0.1:8000", "http://localhost:8000")
    assert load_settings({"HOST": "0.0.0.0"}).own_origins == ("http://0.0.0.0:8000",)
    assert load_settings({"BETTER_AUTH_URL": "https://a.example"}).own_origins == ("https://a.example",)


def test_an_ipv6_address_is_put_in_brackets() -> None:
    assert load_settings({"HOST": "::1"}).public_url == "http://[::1]:8000"


def faults_of(**variables: str) -> list[str]:
    with pytest.raises(BadSettings) as caught:
        load_settings(variables)
    return caught.value.faults


@pytest.mark.parametrize(
    ("variables", "fault"),
    [
        ({}, "HTTP_WORKERS: needs Redis to count rate limits"),
        ({"RATE_LIMITS": "off", "ENGINES": "0"}, "HTTP_WORKERS: needs ENGINES of 1 or more"),
        (
            {"RATE_LIMITS": "off", "TENANT_PROVIDER": "sqld"},
            "HTTP_WORKERS: leave it at 1, as TENANT_PROVIDER is `sqld`",
        ),
    ],
)
def test_several_processes_are_refused_where_each_would_count_alone(variables: dict[str, str], fault: str) -> None:
    with pytest.raises(BadSettings) as caught:
        load_settings({"HTTP_WORKERS": "2", "ENGINES": "2", **variables})
    assert any(each.startswith(fault) for each in caught.value.faults)
    assert load_settings({"HTTP_WORKERS": "2", "ENGINES": "2", "RATE_LIMITS": "off"}).http_workers == 2


def test_turso_needs_a_token_and_an_organization() -> None:
    faults = faults_of(TENANT_PROVIDER="turso")
    assert [fault.split(":")[0] for fault in faults] == ["TURSO_API_TOKEN", "TURSO_ORGANIZATION"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TURSO_API_TOKEN", "two words"),
        ("TURSO_ORGANIZATION", "Acme/.."),
        ("TURSO_ORGANIZATION", "a" * 35),
        ("TURSO_GROUP", "../groups"),
        ("TURSO_API_URL", "https://api.turso.tech/v1"),
        ("TURSO_API_URL", "http://api.turso.tech"),
    ],
)
def test_a_bad_setting_of_turso_is_named(name: str, value: str) -> None:
    sound = {"TENANT_PROVIDER": "turso", "TURSO_API_TOKEN": "secret", "TURSO_ORGANIZATION": "acme"}
    (fault,) = faults_of(**{**sound, name: value})
    assert fault.startswith(f"{name}: ")
    assert "secret" not in fault
    assert "two words" not in fault


@pytest.mark.parametrize(
    ("variables", "fault"),
    [
        ({"GITHUB_CLIENT_ID": "a"}, "GITHUB_CLIENT_SECRET: needed"),
        ({"GOOGLE_CLIENT_SECRET": "a-secret"}, "GOOGLE_CLIENT_ID: needed"),
        ({"OIDC_ISSUER": "https://login.example.com"}, "OIDC_CLIENT_ID: needed"),
        ({"OIDC_CLIENT_ID": "a", "OIDC_CLIENT_SECRET": "b"}, "OIDC_ISSUER: needed"),
        ({"OIDC_ISSUER": "http://login.example.com"}, "OIDC_ISSUER: expected an https URL"),
        ({"OIDC_ISSUER": "https://login.example.com?x"}, "OIDC_ISSUER: expected an https URL"),
        ({"GITHUB_API_URL": "https://user@example.com"}, "GITHUB_API_URL: expected an https URL"),
        ({"OIDC_ID": "google"}, "OIDC_ID: `google` means something else"),
        ({"OIDC_ID": "Login!"}, "OIDC_ID: "),
        ({"OIDC_SCOPES": "email"}, "OIDC_SCOPES: `openid` must be among them"),
    ],
)
def test_a_provider_to_sign_in_with_is_set_up_whole_or_not_at_all(variables: dict[str, str], fault: str) -> None:
    with pytest.raises(BadSettings) as bad:
        load_settings(variables)
    assert any(line.startswith(fault) for line in bad.value.faults), bad.value.faults
    assert "a-secret" not in str(bad.value)


_SQLD = {
    "TENANT_PROVIDER": "sqld",
    "SQLD_URL": "http://127.0.0.1:8080",
    "SQLD_ADMIN_URL": "http://127.0.0.1:9090",
    "SQLD_ADMIN_KEY": "k" * 32,
    "SQLD_JWT_KEY_FILE": "/etc/sqld.pem",
}


@pytest.mark.parametrize(
    ("sqld", "central"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080/?namespace=central"),
        ("http://127.0.0.1:8080/", "http://localhost:8080/?namespace=central"),
        ("http://localhost:8080", "http://127.0.0.2:8080?namespace=central"),
        ("http://[::1]:8080", "http://127.0.0.1:8080/?namespace=central"),
        ("http://127.0.0.1:8080", "libsql://LOCALHOST:8080/?tls=0&namespace=central"),
        ("http://sqld:8080", "http://SQLD.:8080/?namespace=central"),
        ("https://sqld.example.com", "libsql://sqld.example.com/?namespace=central"),
        ("http://sqld.internal", "http://sqld.internal:80/?namespace=central"),
        ("http://127.0.0.1:8080", "http://[::ffff:127.0.0.1]:8080/?namespace=central"),
        ("http://127.0.0.1:8080", "http://central.localhost:8080/?namespace=central"),
    ],
)
def test_one_server_by_two_names_is_shared(sqld: str, central: str) -> None:
    settings = load_settings({**_SQLD, "SQLD_URL": sqld, "DATABASE_URL": central})
    assert settings.shares_sqld
    assert settings.central_namespace == "central"


@pytest.mark.parametrize(
    ("sqld", "central"),
    [
        ("http://127.0.0.1:8080", ""),
        ("http://127.0.0.1:8080", "sqlite:////var/lib/central.db"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8090/?namespace=central"),
        ("http://sqld:8080", "http://central:8080/?namespace=central"),
        ("http://10.0.0.1:8080", "http://127.0.0.1:8080/?namespace=central"),
        ("http://sqld.example.com", "libsql://sqld.example.com"),
    ],
)
def test_two_servers_are_not_taken_for_one(sqld: str, central: str) -> None:
    settings = load_settings({**_SQLD, "SQLD_URL": sqld, "DATABASE_URL": central})
    assert not settings.shares_sqld
    assert settings.central_namespace is None


def test_an_sqld_of_its_own_is_shared_with_no_tenant() -> None:
    central = "http://127.0.0.1:8080/?namespace=central"
    assert not load_settings({"DATABASE_URL": central, "SQLD_URL": "http://127.0.0.1:8080"}).shares_sqld


@pytest.mark.parametrize(
    ("word", "means"), [("local", "local"), ("external", "external"), ("here", "local"), ("elsewhere", "external")]
)
def test_words_of_an_earlier_version_are_understood(word: str, means: str) -> None:
    assert load_settings({"REGISTRY_SIGNING": word}).registry_signing == means

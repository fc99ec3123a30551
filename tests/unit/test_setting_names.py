"""Misspelt settings are named with what was meant, and other programs' variables are left alone."""

import os

import pytest

from freehold.settings.fields import BadSettings
from freehold.settings.load import load_settings, variables
from freehold.settings.names import misspelt

KNOWN = list(variables())
# Of shells, desktops, GitHub, Kubernetes, Kafka, mail programs, our own docs.
OTHERS = """
    PATH HOME HOSTNAME HOSTTYPE HOSTS SORT POST PORTS MAIL MAILTO DATABASE DATA LOGNAME SHELL TERM CI
    USER SESSION_MANAGER XDG_DATA_DIRS XDG_DATA_HOME SSH_AUTH_SOCK GITHUB_TOKEN GITHUB_SHA GITHUB_REF
    GITHUB_JOB GITHUB_ENV GITHUB_SERVER_URL GITHUB_GRAPHQL_URL GITHUB_WORKSPACE
    GOOGLE_APPLICATION_CREDENTIALS GOOGLE_API_KEY REDIS_HOST REDIS_PORT REDIS_PORT_6379_TCP_ADDR
    SQLD_SERVICE_HOST SQLD_PORT FREEHOLD_PORT SCHEMA_REGISTRY_URL SMTP_HOST SMTP_PORT SMTP_USER
    SMTP_PASSWORD LOG_FILE SENTRY_DSN AZURE_TENANT_ID TURSO_DATABASE_URL SQLD_BINARY
    SQLD_CONTAINER_MEMORY REGISTRY_KEY SERVICE_URL FREEHOLD
"""


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("TRUSTED_ORIGNS", "TRUSTED_ORIGINS"),
        ("TRUSTED_ORIGIN", "TRUSTED_ORIGINS"),
        ("trusted_origins", "TRUSTED_ORIGINS"),
        ("BETTER_AUTH_SECERT", "BETTER_AUTH_SECRET"),
        ("DATADIR", "DATA_DIR"),
        ("DATA_DRI", "DATA_DIR"),
        ("TENANT_PROVDER", "TENANT_PROVIDER"),
        ("SCHEMA_REGISTY", "SCHEMA_REGISTRY"),
        ("RATE_LIMIT", "RATE_LIMITS"),
        ("TENANT_MAX_SIZE", "TENANT_MAX_SIZE_MB"),
        ("TURSO_TOKEN", "TURSO_API_TOKEN"),
        ("UPSTASH_REDIS_URL", "UPSTASH_REDIS_REST_URL"),
    ],
)
def test_what_is_near_to_a_setting_is_named_with_it(name: str, meant: str) -> None:
    assert misspelt([name], KNOWN) == [(name, meant)]


def test_every_setting_with_a_letter_left_out_or_two_exchanged_is_noticed() -> None:
    for known in KNOWN:
        if len(known) < 8:
            continue
        at = len(known) // 2
        for name in (known[:at] + known[at + 1 :], f"{known[:at]}{known[at + 1]}{known[at]}{known[at + 2 :]}"):
            if name not in KNOWN:
                assert [found for found, _ in misspelt([name], KNOWN)] == [name]


def test_settings_and_the_variables_of_other_programs_are_left_alone() -> None:
    assert misspelt([*OTHERS.split(), *KNOWN, *os.environ], KNOWN) == []


def test_in_a_file_of_ones_own_short_names_are_looked_at_too() -> None:
    assert misspelt(["port", "PROT", "LOG_FILE"], KNOWN, is_own_file=True) == [("port", "PORT"), ("PROT", "PORT")]


@pytest.mark.parametrize(
    ("name", "choices"),
    [
        ("TENANT_PROVIDER", "`local`, `sqld` or `turso`"),
        ("LOG_LEVEL", "`debug`, `info`, `warning` or `error`"),
        ("DATABASE_TOKEN_PROFILE", "`none`, `read_only`, `rows` or `full`"),
        ("RATE_LIMITS", "`on` or `off`"),
    ],
)
def test_an_error_about_a_choice_lists_the_choices(name: str, choices: str) -> None:
    with pytest.raises(BadSettings) as caught:
        load_settings({name: "nonsense"})
    assert caught.value.faults == [f"{name}: expected {choices}, got `nonsense`"]


def test_the_central_database_beside_the_tenants_is_known_by_its_name() -> None:
    sqld = {
        "TENANT_PROVIDER": "sqld", "SQLD_URL": "http://127.0.0.1:8080", "SQLD_ADMIN_URL": "http://127.0.0.1:9090",
        "SQLD_ADMIN_KEY": "k", "SQLD_JWT_KEY_FILE": "k.pem",
    }  # fmt: skip
    assert load_settings(sqld).central_names == {"central"}
    own = load_settings({**sqld, "DATABASE_URL": "http://localhost:8080/?namespace=users"})
    assert own.central_names == {"central", "users"}
    turso = {"TENANT_PROVIDER": "turso", "TURSO_API_TOKEN": "t", "TURSO_ORGANIZATION": "acme"}
    assert load_settings(turso).central_names == frozenset()
    beside = load_settings({**turso, "DATABASE_URL": "libsql://central-acme.aws-eu-west-1.turso.io"})
    assert beside.central_names == {"central"}
    assert load_settings({}).central_names == frozenset()

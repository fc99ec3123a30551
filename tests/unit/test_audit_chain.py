"""How entries are bound: each field counts, and the rule is the one that docs/audit.md tells."""

import hashlib
from contextvars import copy_context

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from freehold.audit.chain import chained, draft, entry_hash, is_authentic, mac, mac_key
from freehold.audit.origin import Origin, acting, current_origin, work_begins
from freehold.audit.types import AuditDetailsTooLarge, BadMoment, Draft, Event, moment

AT = "2026-01-31T10:20:30.123Z"
FIELDS = ("at", "action", "actor", "target", "ip_address", "request_id", "details")
drafts = st.builds(Draft, **{name: st.text(max_size=8) for name in FIELDS})


def by_hand(previous: str, seq: int, entry: Draft) -> str:
    """From the words of docs/audit.md alone."""
    whole = ""
    for text in (previous, str(seq), *(getattr(entry, name) for name in FIELDS)):
        whole += f"{len(text.encode())}:{text},"
    return hashlib.sha256(whole.encode()).hexdigest()


@given(drafts, st.text("0123456789abcdef", max_size=64), st.integers(1))
def test_the_hash_is_what_the_documentation_says(entry: Draft, previous: str, seq: int) -> None:
    assert entry_hash(previous, seq, entry) == by_hand(previous, seq, entry)


@given(drafts, drafts)
def test_two_entries_have_one_hash_only_if_they_are_the_same(one: Draft, other: Draft) -> None:
    assert (entry_hash("", 1, one) == entry_hash("", 1, other)) == (one == other)


def test_text_that_moves_from_one_field_to_the_next_changes_the_hash() -> None:
    one = Draft(at=AT, action="a", actor="bc", target="", ip_address="", request_id="", details="{}")
    assert entry_hash("", 1, one) != entry_hash("", 1, replace(one, action="ab", actor="c"))


def test_each_entry_stands_on_the_one_before() -> None:
    two = [draft(Event("a"), Origin(), AT), draft(Event("b"), Origin(), AT)]
    first, second = chained("", 0, two)
    assert (first.seq, second.seq) == (1, 2)
    assert second.hash == entry_hash(first.hash, 2, two[1])
    assert chained(first.hash, 1, two[1:]) == [second]


def test_a_seal_fits_one_head_and_one_secret() -> None:
    key = mac_key("secret")
    made = mac(key, 7, "ff")
    assert is_authentic(key, 7, "ff", made)
    assert not is_authentic(key, 8, "ff", made)
    assert not is_authentic(key, 7, "fe", made)
    assert not is_authentic(mac_key("other"), 7, "ff", made)
    assert not is_authentic(key, 7, "ff", "\udce9")


def test_an_event_is_recorded_for_whoever_acts() -> None:
    copy_context().run(_whoever_acts)


def _whoever_acts() -> None:
    work_begins(Origin("anonymous"))
    assert draft(Event("a"), current_origin(), AT).actor == "anonymous"
    acting("u1")
    assert draft(Event("a"), current_origin(), AT).actor == "user:u1"
    assert draft(Event("a", actor="system"), current_origin(), AT).actor == "system"
    acting("u1", impersonated_by="boss")
    found = draft(Event("a", details={"n": 1}), current_origin(), AT)
    assert (found.actor, msgspec.json.decode(found.details)) == ("user:boss", {"n": 1, "acts_as": "user:u1"})


def test_details_are_facts_and_not_documents() -> None:
    with pytest.raises(AuditDetailsTooLarge, match="`spoken`"):
        draft(Event("spoken", details={"text": "x" * 4_000}), Origin(), AT)


@pytest.mark.parametrize(
    ("text", "least"),
    [
        ("2026-01-31", "2026-01-31T00:00:00.000Z"),
        ("2026-01-31T10:20Z", "2026-01-31T10:20:00.000Z"),
        ("2026-01-31T10:20:30Z", "2026-01-31T10:20:30.000Z"),
        ("2026-01-31T10:20:30.123Z", AT),
    ],
)
def test_a_moment_compares_as_its_text(text: str, least: str) -> None:
    found = moment(text)
    assert found is not None
    assert "2026-01-30T23:59:59.999Z" < found <= least
    assert moment(None) is None


@pytest.mark.parametrize("text", ["", "yesterday", "2026-1-31", "2026-01-31 10:20", "2026-01-31T10:20:30+02:00"])
def test_another_form_of_a_moment_is_refused(text: str) -> None:
    with pytest.raises(BadMoment, match="UTC"):
        moment(text)

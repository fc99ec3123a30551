"""What is signed of a release: bytes that never change, one text for each value, and one value for each text."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import example, given, settings
from hypothesis import strategies as st

from freehold.client.verify import Known, proved_parts, require_usable, verified
from freehold.migrate.release_text import (
    FIRST_COUNTER,
    FORM,
    MAX_PARTS,
    Part,
    ReleaseNotUnderstood,
    ReleaseText,
    encoded,
    is_part_name,
    parsed,
    proved,
)
from freehold.migrate.signature import (
    RegistryTampered,
    endorsement_text,
    is_text_signed,
    manifest_text,
    retirement_text,
    signed_text,
)
from freehold.registry.signed import signer_of
from freehold.wire import MigrationPage, PublicKey

SIGNER = signer_of(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
CHAIN = "5823d5174716154265af941d5aefdedf93b93885094b9281429c3a15ce259a60"
PUBLIC_KEY = "A6EHv_POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg"
OLD: dict[str, Any] = json.loads((Path(__file__).parent / "captures/registry_97dc196.json").read_text())


def release(**changes: Any) -> ReleaseText:
    made = ReleaseText(version=7, chain=CHAIN, counter=FIRST_COUNTER + 1796047617808, expires_at_s=1798639617)
    return msgspec.structs.replace(made, **changes)


PARTS = (Part("ledger", "07" * 32), Part("app.toml", "91" * 32, must=True))
TEXT = f"""freehold-registry-v3
version 7
chain {CHAIN}
counter 4505395674988304
expires 1798639617
must app.toml {"91" * 32}
part ledger {"07" * 32}
"""

# Forms in the field -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected", "signature"),
    [
        (
            signed_text(7, CHAIN),
            f"freehold-registry-v1\n7\n{CHAIN}\n",
            "Z4Za0pnx2TAGrYEyOvmVVEKVA7mSidKfV1Wj2INnKj7Qf-KP2WVuvfgdrYqM_mdfiDf8V55_6mCU4RLG9n3HAQ",
        ),
        (
            manifest_text(7, CHAIN, 1796047617808, 1798639617),
            f"freehold-registry-v2\n7\n{CHAIN}\n1796047617808\n1798639617\n",
            "gtb6zgAra7VJkrY9N4TnjzWiGF0AjojikQ-iS3sB5lAlIXpyEDgdzuNgKuwS5-rpBZivk5bPTz3K6xgdoT7GBA",
        ),
        (
            endorsement_text(PUBLIC_KEY),
            f"freehold-registry-key-v1\nendorsed\n{PUBLIC_KEY}\n",
            "eAvi8C54nHJHbiy7JNMsm_LNOoJXmK5IHzrvtEgMjaBvJ6b63EIkfCDrvRx0lXutZZoq_PHUza5PQ7Sva4FUBQ",
        ),
        (
            retirement_text("56475aa75463474c"),
            "freehold-registry-key-v1\nretired\n56475aa75463474c\n",
            "xg90vegDL1_1FSnCGOoKYAPMgC9uEJ8mfzM8Mc7Fod7YgVdczf5-aJZSL48uIMNy8JiJIYsBJe_CqnHo7TqPCA",
        ),
        (
            encoded(release(parts=PARTS)).encode(),
            TEXT,
            "M48EI-jb32fpZ-UU0fdg4tzONQ5mFkM274UaEwcnSTbkWV6iBVNOJ4-6EDV374UiM0KLHGTTmlDE1sKVvcYMCQ",
        ),
    ],
    ids=["a row", "a state, older form", "an endorsement", "a retirement", "a release"],
)
def test_the_texts_and_signatures_of_clients_in_the_field_stay_as_they_are_to_the_byte(
    text: bytes, expected: str, signature: str
) -> None:
    assert (SIGNER.key_id, SIGNER.public_key) == ("56475aa75463474c", PUBLIC_KEY)
    assert text == expected.encode()
    assert SIGNER.sign(text) == signature
    assert is_text_signed(text, signature, PUBLIC_KEY)


def known(counter: int = 0, **more: Any) -> Known:
    return Known(after=0, chain="", counter=counter, now_s=1796100000, **more)


def test_what_a_service_of_97dc196_serves_is_still_taken() -> None:
    page = msgspec.convert(OLD["page"], MigrationPage)
    [key] = msgspec.convert(OLD["keys"], list[PublicKey])
    found = verified(page, known(), key.public_key)
    assert ([each.name for each in found.migrations], found.parts) == (["create_word", "add_note"], ())
    require_usable(page, found.parts, known())
    # Whatever of it is signed cannot be changed, as ever.
    for changes in ({"counter": page.counter + 1}, {"expires_at_s": 2**40}, {"version": 3}):
        with pytest.raises(RegistryTampered):
            proved_parts(msgspec.structs.replace(page, **changes), key.public_key)
    # And it is nothing for a client that has seen a release in the new form.
    with pytest.raises(RegistryTampered, match="signed before"):
        verified(page, known(FIRST_COUNTER), key.public_key)


# One value, one text ----------------------------------------------------------------------------

# Names that are easily taken for one another or for other lines; what a name may be has a test of its own.
_names = st.sampled_from(
    ["a", "a.b", "a-b", "a_b", "ab", "0", "00", "must", "part", "chain", "app.toml", "ledger", "z" * 64]
)
_hashes = st.integers(0, 2**256 - 1).map(lambda number: f"{number:064x}")
_parts = st.lists(st.builds(Part, _names, _hashes, must=st.booleans()), max_size=4, unique_by=lambda part: part.name)
_releases = st.builds(
    ReleaseText,
    version=st.integers(1, 9_999),
    chain=_hashes,
    counter=st.integers(FIRST_COUNTER, 2**53),
    expires_at_s=st.integers(0, 2**53),
    parts=_parts.map(tuple),
)


def in_order(made: ReleaseText) -> ReleaseText:
    return msgspec.structs.replace(made, parts=tuple(sorted(made.parts, key=lambda part: part.name)))


@given(_releases)
@example(release(version=0, chain=""))
def test_what_is_written_is_read_as_it_was(made: ReleaseText) -> None:
    assert parsed(encoded(made)) == in_order(made)
    assert encoded(in_order(made)) == encoded(made)


@given(_releases, _releases)
def test_two_releases_never_have_the_same_text(one: ReleaseText, other: ReleaseText) -> None:
    assert (encoded(one) == encoded(other)) is (in_order(one) == in_order(other))


_noise = st.text(alphabet="\n\r \t\0-+.0123456789abcdefABCDEFmust part\u0661\u00a0\u2028\u0085é", max_size=4)


def read(text: str) -> ReleaseText | None:
    try:
        return parsed(text)
    except (RegistryTampered, ReleaseNotUnderstood):
        return None


@settings(max_examples=120)
@given(_releases, st.data())
def test_a_text_that_is_written_in_any_other_way_is_not_read(made: ReleaseText, data: st.DataObject) -> None:
    text = encoded(made)
    lines = text.splitlines(keepends=True)
    kind = data.draw(st.sampled_from(["put in", "take out", "double", "swap", "upper", "no end"]))
    at = data.draw(st.integers(0, len(text) - 1))
    line, other = (data.draw(st.integers(0, len(lines) - 1)) for _ in range(2))
    match kind:
        case "put in":
            text = text[:at] + data.draw(_noise) + text[at:]
        case "take out":
            text = text[:at] + text[at + data.draw(st.integers(1, 70)) :]
        case "double":
            text = "".join([*lines[:other], lines[line], *lines[other:]])
        case "swap":
            lines[line], lines[other] = lines[other], lines[line]
            text = "".join(lines)
        case "upper":
            text = text[:at] + text[at:].upper()
        case _:
            text = text.rstrip("\n")
    found = read(text)
    assert found is None or encoded(found) == text
    assert text == encoded(made) or found != in_order(made)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        FORM,
        f"\ufeff{TEXT}",
        TEXT.replace("\n", "\r\n"),
        TEXT + "\n",
        TEXT.replace("version 7", "version 07"),
        TEXT.replace("version 7", "version +7"),
        TEXT.replace("version 7", "version 7 "),
        TEXT.replace("version 7", "version  7"),
        TEXT.replace("version 7", "version ٧"),
        TEXT.replace("version 7", "version 10000"),
        TEXT.replace("version 7", "version 0"),
        TEXT.replace("version 7", "version -1"),
        TEXT.replace("version 7", "version 7.0"),
        TEXT.replace("counter 4505395674988304", f"counter {FIRST_COUNTER - 1}"),
        TEXT.replace("counter 4505395674988304", f"counter {2**53 + 1}"),
        TEXT.replace("expires", "Expires"),
        TEXT.replace(CHAIN, CHAIN.upper()),
        TEXT.replace(CHAIN, CHAIN[:-1]),
        TEXT.replace(CHAIN, "-"),
        TEXT.replace("app.toml", "App.toml"),
        TEXT.replace("app.toml", "app.tom\u0142"),
        TEXT.replace("app.toml", "ledger"),
        TEXT.replace("app.toml", "zebra"),
        TEXT.replace("app.toml", "../app.toml"),
        TEXT.replace("app.toml", "a" * 65),
        TEXT.replace("must", "may"),
        TEXT + f"part app.toml {'91' * 32}\n",
        TEXT + f"note ledger {'07' * 32}\n",
        TEXT + "".join(f"part z{at:03} {'07' * 32}\n" for at in range(MAX_PARTS)),
        TEXT * 2,
    ],
)
def test_no_release_has_such_a_text(text: str) -> None:
    with pytest.raises(RegistryTampered):
        parsed(text)


@pytest.mark.parametrize(
    "changes",
    [
        {"version": -1},
        {"version": 10_000},
        {"version": 0},
        {"chain": ""},
        {"chain": CHAIN + "\n"},
        {"chain": f"{CHAIN}\ncounter 1"},
        {"counter": FIRST_COUNTER - 1},
        {"counter": 2**53 + 1},
        {"expires_at_s": -1},
        {"parts": (Part("a\nmust b", "07" * 32),)},
        {"parts": (Part("a", f"{'07' * 32}\npart b {'07' * 32}"),)},
        {"parts": (Part("a\n", "07" * 32),)},
        {"parts": (Part("a", "07" * 32 + "\n"),)},
        {"parts": (Part("a", "07" * 32), Part("a", "08" * 32))},
        {"parts": (Part("a", "07" * 32), Part("a", "07" * 32, must=True))},
        {"parts": (Part("A", "07" * 32),)},
        {"parts": (Part("", "07" * 32),)},
        {"parts": (Part("a", "0A" * 32),)},
        {"parts": tuple(Part(f"p{at}", "07" * 32) for at in range(MAX_PARTS + 1))},
    ],
)
def test_what_could_be_read_in_two_ways_is_never_written(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"part|version|chain|counter"):
        encoded(release(**changes))


@pytest.mark.parametrize("name", ["", "a\n", "a/b", "..", ".a", "a.", "-a", "a-", "A", "é", "a b", "a" * 65, "\u0430"])
def test_such_a_name_is_no_parts(name: str) -> None:
    assert not is_part_name(name)
    assert is_part_name("a" * 64)
    assert is_part_name("app.toml")


# Signatures -------------------------------------------------------------------------------------


def test_a_text_counts_only_for_the_release_that_it_names() -> None:
    text, stand = encoded(release(parts=PARTS)), release()
    signature = SIGNER.sign(text.encode())
    assert proved(text, signature, PUBLIC_KEY, stand) == tuple(sorted(PARTS, key=lambda part: part.name))
    for changes in ({"version": 8}, {"chain": "ab" * 32}, {"counter": stand.counter + 1}, {"expires_at_s": 5}):
        with pytest.raises(RegistryTampered, match="of another release"):
            proved(text, signature, PUBLIC_KEY, msgspec.structs.replace(stand, **changes))
    for other in (text.replace("must", "part"), text.replace("91", "92"), text[:-1], "é", ""):
        with pytest.raises(RegistryTampered, match="is not valid"):
            proved(other, signature, PUBLIC_KEY, stand)


def test_no_text_of_another_kind_passes_for_a_release() -> None:
    others = (
        signed_text(7, CHAIN),
        manifest_text(7, CHAIN, release().counter, 1798639617),
        endorsement_text(PUBLIC_KEY),
        retirement_text(SIGNER.key_id),
    )
    for text in others:
        with pytest.raises(RegistryTampered, match="cannot be read"):
            proved(text.decode(), SIGNER.sign(text), PUBLIC_KEY, release())


def test_a_later_form_says_that_the_app_is_too_old() -> None:
    text = "freehold-registry-v4\nanything\n"
    with pytest.raises(ReleaseNotUnderstood, match="update the app"):
        proved(text, SIGNER.sign(text.encode()), PUBLIC_KEY, release())

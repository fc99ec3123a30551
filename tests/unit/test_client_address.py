"""Whose request it is: `X-Forwarded-For` in all its forms, and in those of whoever would like to be somebody else."""

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from litestar.types import Scope

from freehold.http.client_address import ClientAddresses, network_of

OURS = ["10.0.0.0/8", "fd00::/8", "::ffff:192.168.7.0/120"]


def scope(peer: str | None, *lines: str) -> Scope:
    headers = [(b"host", b"x"), *((b"x-forwarded-for", line.encode("latin-1")) for line in lines)]
    made: Scope = {"type": "http", "client": peer if peer is None else (peer, 1), "headers": headers}  # type: ignore[assignment]
    return made


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["7.7.7.7", "9.9.9.9"], "9.9.9.9"),  # the client wrote a line of its own, the proxy added another
        (["7.7.7.7", "9.9.9.9, 10.0.0.2"], "9.9.9.9"),
        (["7.7.7.7, 9.9.9.9", "10.0.0.2", "10.0.0.3"], "9.9.9.9"),
        (["9.9.9.9:1234"], "9.9.9.9"),
        (["[2001:db8::7]:443"], "2001:db8::7"),
        (["[2001:db8::7]"], "2001:db8::7"),
        (["2001:DB8:0::7"], "2001:db8::7"),
        (["::ffff:9.9.9.9"], "9.9.9.9"),
        (["[::ffff:9.9.9.9]:80"], "9.9.9.9"),
        (["::ffff:909:909"], "9.9.9.9"),
        (["2001:db8::7%eth0"], "2001:db8::7"),
        (["9.9.9.9, 10.0.0.2:8080, [fd00::1]:9"], "9.9.9.9"),
        (["9.9.9.9, 192.168.7.1"], "9.9.9.9"),  # a network of IPv4, written as IPv6 in the settings
        (["9.9.9.9, 192.168.8.1"], "192.168.8.1"),
        (["9.9.9.9,"], "9.9.9.9"),
        (["9.9.9.9", ""], "9.9.9.9"),
        (["9.9.9.9 , \t"], "9.9.9.9"),
        (["9.9.9.9, unknown"], ""),
        (["9.9.9.9, unknown, 10.0.0.2"], ""),
        (["9.9.9.9, _hidden"], ""),
        (['9.9.9.9, "8.8.8.8"'], ""),
        (["9.9.9.9; 10.0.0.2"], ""),
        (["9.9.9.9:"], ""),
        (["9.9.9.9:123456"], ""),
        (["[9.9.9.9]:80"], ""),
        (["[2001:db8::7"], ""),
        (["2001:db8::7]:80"], ""),
        (["010.9.9.9"], ""),
        (["9.9.9"], ""),
        (["0x09090909"], ""),
        (["\xb2.9.9.9"], ""),
        (["1" * 10_000], ""),
        (["10.0.0.2"], ""),
        (["9.9.9.9" + ", 10.0.0.2" * 31], "9.9.9.9"),
        (["9.9.9.9" + ", 10.0.0.2" * 5_000], ""),
        ([], ""),
    ],
)
def test_the_first_stranger_from_the_right_is_the_client(lines: list[str], expected: str) -> None:
    addresses = ClientAddresses(OURS)
    found = scope("10.0.0.1", *lines)
    assert addresses.of(found) == expected
    assert addresses.seen(found) == (expected or "10.0.0.1")
    assert addresses.of(scope("9.9.9.1", *lines)) == ""  # nobody else's word counts
    assert ClientAddresses(()).of(found) == ""


addresses_of_strangers = st.ip_addresses().filter(lambda address: ClientAddresses(OURS).is_proxy(str(address)) is False)
joins = st.booleans()
of_ours = st.sampled_from(["10.0.0.2", "10.255.0.1", "fd00::99", "192.168.7.200"])
anything = st.text(alphabet=st.characters(codec="latin-1", exclude_characters="\r\n\0"), max_size=60)


@st.composite
def written(draw: st.DrawFn, address: str) -> str:
    """One of the ways in which proxies write an address."""
    forms = [address, f" {address}\t"]
    if ":" in address:
        forms += [f"[{address}]", f"[{address}]:4711", address.upper(), f"{address}%eth0"]
        forms.append(f"[{IPv6Address(address).exploded}]:1")
    else:
        forms += [f"{address}:65535", f"::ffff:{address}", f"[::ffff:{address}]:80"]
    return draw(st.sampled_from(forms))


@given(data=st.data(), client=addresses_of_strangers, forged=st.lists(anything, max_size=4))
def test_nothing_that_a_client_writes_makes_it_somebody_else(
    data: st.DataObject, client: IPv4Address | IPv6Address, forged: list[str]
) -> None:
    proxies = data.draw(st.lists(of_ours, max_size=4))
    honest: list[str] = [data.draw(written(str(each))) for each in (client, *proxies)]
    # Each element may stand on a line of its own, or after a comma.
    lines = list(forged)
    for hop in honest:
        is_joined: bool = data.draw(joins)
        if lines and is_joined:
            lines[-1] += f",{hop}"
        else:
            lines.append(hop)
    addresses = ClientAddresses(OURS)
    alone = addresses.accountable(scope("10.0.0.1", str(client)))
    assert addresses.accountable(scope("10.0.0.1", *lines)) == alone
    assert addresses.accountable(scope(str(client), *forged)) == alone


@given(lines=st.lists(anything, max_size=6), peer=st.one_of(of_ours, anything))
def test_whatever_is_sent_there_is_an_answer_in_its_normal_form(lines: list[str], peer: str) -> None:
    found = ClientAddresses(OURS).of(scope(peer, *lines))
    if found:
        address = IPv6Address(found) if ":" in found else IPv4Address(found)
        assert str(address) == found
        assert not ClientAddresses(OURS).is_proxy(found)


@given(address=st.ip_addresses(v=4))
def test_an_address_has_one_form_however_it_is_written(address: IPv4Address) -> None:
    mapped = IPv6Address(f"::ffff:{address}")
    forms = (str(address), f"::ffff:{address}", mapped.exploded, str(mapped), f"{address}:80", f"[{mapped}]:80")
    assert {network_of(form) for form in forms} == {str(address)}


def test_addresses_of_one_network_count_as_one() -> None:
    assert network_of("2001:db8:1:2:3:4:5:6") == network_of("2001:db8:1:2::9%eth1") == "2001:db8:1:2::"
    assert network_of("2001:db8:1:3::1") != "2001:db8:1:2::"

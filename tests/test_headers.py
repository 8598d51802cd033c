"""Header fields on their way through the proxy."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from multidict import CIMultiDict

from proxy.headers import (
    HOP_BY_HOP,
    UNKNOWN,
    Clients,
    Field,
    Hop,
    Network,
    as_text,
    client_address,
    end_to_end,
    forwarded_headers,
    is_trusted,
    is_websocket_upgrade,
)

TRUSTED: tuple[Network, ...] = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
HOP = Hop("203.0.113.9", "http", "activity.example", "1.1")
EDGE = Hop("10.0.0.1", "http", "activity.example", "1.1")

tokens = st.text("abcdefXYZ-_0123456789!#$%&'*+.^`|~", min_size=1, max_size=12).map(str.encode)
values = st.binary(max_size=20).map(lambda value: value.translate(None, b"\r\n\0,").strip())


def cased(name: bytes) -> st.SearchStrategy[bytes]:
    """The name in any mixture of cases."""
    letters = [st.sampled_from((letter.lower(), letter.upper())) for letter in name.decode()]
    return st.tuples(*letters).map(lambda chosen: "".join(chosen).encode())


names = st.one_of(tokens, st.sampled_from(sorted(HOP_BY_HOP)).flatmap(cased))
field_lists = st.lists(st.tuples(names, values), max_size=12)


@given(field_lists, st.lists(tokens, max_size=3))
def test_fields_of_one_connection_and_those_it_names_are_removed_and_no_others(
    fields: list[Field], options: list[bytes]
) -> None:
    """Whatever the case, a hop's fields and those named in Connection go; the rest stays to the byte."""
    assume(not {b"via", b"host"} & {option.lower() for option in options})
    fields = [*fields, (b"cOnnection", b" , ".join(options))]
    named = {
        option.strip().lower()
        for name, value in fields
        if name.lower() == b"connection"
        for option in value.split(b",")
    }
    assert end_to_end(fields) == [
        (name, value)
        for name, value in fields
        if name.lower() not in HOP_BY_HOP and name.lower() not in named
    ]


def test_every_connection_field_counts() -> None:
    """A second Connection field names fields as well as the first."""
    fields = [
        (b"Connection", b"close"),
        (b"connection", b"Keep-Alive, X-Secret"),
        (b"x-secret", b"1"),
        (b"X", b"2"),
    ]
    assert end_to_end(fields) == [(b"X", b"2")]


@given(st.sampled_from(["Host", "Content-Length", "Via", "Forwarded", "X-Forwarded-For"]))
def test_no_connection_field_takes_away_what_all_need(name: str) -> None:
    """A client cannot have the next server miss who asked, by what name, or how much."""
    field = (name.encode(), b"1")
    assert end_to_end([(b"Connection", f"close, {name.lower()}".encode()), field]) == [field]


@given(field_lists, st.lists(values, max_size=3))
def test_what_an_untrusted_peer_says_of_others_is_replaced(fields: list[Field], chain: list[bytes]) -> None:
    """A client cannot choose the address, scheme or host that the next server sees."""
    claims = [(b"x-forwarded-FOR", value) for value in chain]
    claims += [
        (b"X-Forwarded-Proto", b"https"),
        (b"X-FORWARDED-HOST", b"evil"),
        (b"X-Forwarded-Port", b"1"),
        (b"forwarded", b"for=1"),
        (b"X-Real-IP", b"198.51.100.7"),
        (b"X_Forwarded_For", b"198.51.100.7"),
    ]
    plain = [field for field in fields if field[0].lower() != b"via"]
    assert forwarded_headers([*claims, *plain], HOP, TRUSTED) == [
        *plain,
        (b"X-Forwarded-For", b"203.0.113.9"),
        (b"X-Forwarded-Proto", b"http"),
        (b"X-Forwarded-Host", b"activity.example"),
        (b"Via", b"1.1 activity-proxy"),
    ]


@given(st.lists(values.filter(bool), max_size=4))
def test_a_trusted_peer_is_believed_and_appended(chain: list[bytes]) -> None:
    """Behind an edge the chain of addresses grows by the edge's own, and its scheme and host stand."""
    said = [(b"X-Forwarded-Proto", b"https"), (b"x-forwarded-host", b"cdn.example"), (b"Forwarded", b"for=1")]
    assert forwarded_headers([*((b"x-forwarded-for", value) for value in chain), *said], EDGE, TRUSTED) == [
        *said,
        (b"X-Forwarded-For", b", ".join([*chain, b"10.0.0.1"])),
        (b"Via", b"1.1 activity-proxy"),
    ]


@pytest.mark.parametrize("hop", [HOP, EDGE])
@pytest.mark.parametrize("name", [b"Activity-Proxy-Source", b"activity_proxy_User"])
def test_nobody_speaks_as_this_proxy(hop: Hop, name: bytes) -> None:
    """Not even a trusted peer says what this proxy alone says."""
    assert name not in {field[0] for field in forwarded_headers([(name, b"gateway")], hop, TRUSTED)}


def test_a_trusted_peer_that_says_nothing_is_supplemented() -> None:
    """Without a word of the edge the connection's own scheme and host are told."""
    fields = forwarded_headers([(b"X-Forwarded-For", b"")], EDGE, TRUSTED)
    assert fields[:3] == [
        (b"X-Forwarded-For", b"10.0.0.1"),
        (b"X-Forwarded-Proto", b"http"),
        (b"X-Forwarded-Host", b"activity.example"),
    ]


def test_absent_things_are_not_invented() -> None:
    """Without a Host there is no X-Forwarded-Host, and a peer without an address is unknown."""
    assert forwarded_headers([], Hop(None, "https", None, "1.0"), TRUSTED) == [
        (b"X-Forwarded-For", UNKNOWN.encode()),
        (b"X-Forwarded-Proto", b"https"),
        (b"Via", b"1.0 activity-proxy"),
    ]


def test_via_is_appended_to() -> None:
    """The proxies before are kept in Via, in their order."""
    fields = forwarded_headers([(b"via", b"1.1 edge"), (b"Via", b"2 cdn")], HOP, ())
    assert fields[-1] == (b"Via", b"1.1 edge, 2 cdn, 1.1 activity-proxy")


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "expected"),
    [
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["1.1.1.1, 198.51.100.1, 10.2.2.2"], "198.51.100.1"),
        ("10.0.0.1", ["1.1.1.1", "198.51.100.1 ,10.2.2.2"], "198.51.100.1"),
        ("10.0.0.1", ["10.3.3.3, 10.2.2.2"], "10.3.3.3"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["1.1.1.1, unknown"], "10.0.0.1"),
        ("10.0.0.1", ["1.1.1.1, <script>, 10.2.2.2"], "10.2.2.2"),
        ("10.0.0.1", ["198.51.100.1:4711"], "198.51.100.1"),
        ("10.0.0.1", ["[2001:db8::1]:4711"], "2001:db8::1"),
        ("10.0.0.1", ["2001:db8::1"], "2001:db8::1"),
        ("::ffff:10.0.0.1", ["::ffff:198.51.100.1"], "198.51.100.1"),
        ("fd00::1", ["198.51.100.1"], "198.51.100.1"),
        (None, ["198.51.100.1"], UNKNOWN),
        ("", ["198.51.100.1"], UNKNOWN),
        ("/run/socket", ["198.51.100.1"], "/run/socket"),
    ],
)
def test_the_client_is_the_right_most_untrusted_address(
    peer: str | None, forwarded_for: list[str], expected: str
) -> None:
    """Addresses are believed from the right, as long as a trusted proxy reports them."""
    assert client_address(peer, forwarded_for, TRUSTED) == expected


addresses = st.one_of(
    st.ip_addresses(v=4), st.ip_addresses(v=4, network="10.0.0.0/8"), st.ip_addresses(v=6)
).map(str)


@given(addresses, st.lists(addresses, max_size=5), st.lists(addresses, max_size=5))
def test_what_a_client_writes_left_of_its_own_address_changes_nothing(
    peer: str, lies: list[str], chain: list[str]
) -> None:
    """Once an untrusted address is met, the rest of the chain has no say."""
    chain = ["203.0.113.9", *chain]
    honest = client_address(peer, [", ".join(chain)], TRUSTED)
    assert client_address(peer, [", ".join([*lies, *chain])], TRUSTED) == honest
    assert not is_trusted(honest, TRUSTED)
    ip_address(honest)


def test_nobody_is_trusted_unless_told() -> None:
    """Without networks, without an address, or with a bad one there is no trust."""
    assert is_trusted("10.9.9.9", TRUSTED)
    assert not is_trusted("10.9.9.9", ())
    assert not is_trusted(None, TRUSTED)
    assert not is_trusted("edge", TRUSTED)


@pytest.mark.parametrize(
    ("fields", "asked"),
    [
        ([("upgrade", "WebSocket"), ("Connection", "keep-alive, Upgrade")], True),
        ([("Upgrade", "websocket"), ("Connection", "keep-alive"), ("connection", "upgrade")], True),
        ([("Upgrade", "websocket"), ("Connection", "upgraded")], False),
        ([("Upgrade", "websocket")], False),
        ([("Upgrade", "h2c"), ("Connection", "Upgrade")], False),
        ([("Connection", "Upgrade")], False),
    ],
)
def test_a_websocket_is_asked_for_by_both_fields(fields: list[tuple[str, str]], *, asked: bool) -> None:
    """Upgrade says to what, and Connection that it is meant for us."""
    assert is_websocket_upgrade(CIMultiDict(fields)) is asked


@given(field_lists)
def test_text_loses_no_field_and_no_byte_of_utf8(fields: list[Field]) -> None:
    """Each field is there in its order; a value in UTF-8 reads as it was written."""
    text = as_text(fields)
    assert [name.lower().encode() for name, _ in text] == [name.lower() for name, _ in fields]
    for (_, value), (_, raw) in zip(text, fields, strict=True):
        assert raw in (value.encode(), value.encode("latin-1", errors="replace"))


def test_one_name_has_one_spelling() -> None:
    """Aiohttp's client would drop the first of two fields that differ in case alone."""
    assert as_text([(b"X-Tag", b"1"), (b"x-tag", b"2")]) == [("X-Tag", "1"), ("X-Tag", "2")]


def test_no_client_fills_the_memory_of_addresses() -> None:
    """What is long is read each time: nobody's chain of proxies is, and anybody may send one."""
    clients = Clients([ip_network("10.0.0.0/8")])
    short = CIMultiDict({"X-Forwarded-For": "203.0.113.7, 10.0.0.2"})
    long = CIMultiDict([("X-Forwarded-For", "198.51.100.1, " * 50), ("X-Forwarded-For", "203.0.113.8")])
    for _ in range(2):
        assert clients("10.0.0.1", short) == "203.0.113.7"
        assert clients("10.0.0.1", long) == "203.0.113.8"
    assert clients._address.cache_info().currsize == 1

from __future__ import annotations

import pytest

from dimsetls.tls.usage import FULL_RECORD, OVERHEAD, RECORDS_PER_KEY, KeyUsage, Wear

GCM = "TLS_AES_256_GCM_SHA384"


def used(limit: int = 1000, *, sent: int = 0, received: int = 0) -> KeyUsage:
    return KeyUsage(limit, sent, received)


@pytest.mark.parametrize(("suite", "limit"), [
    (GCM, 23_726_566),
    ("ECDHE-RSA-AES128-GCM-SHA256", 23_726_566),
    ("ECDHE-ECDSA-AES128-CCM8", 8_388_608),
    ("TLS_AES_128_CCM_SHA256", 8_388_608),
])  # fmt: skip
def test_the_limit_is_that_of_the_cipher(suite, limit):
    usage = KeyUsage.of(suite)
    assert usage is not None
    assert usage.limit == limit


@pytest.mark.parametrize("suite", ["TLS_CHACHA20_POLY1305_SHA256", "ECDHE-RSA-CHACHA20-POLY1305", ""])
def test_some_ciphers_have_none(suite):
    assert KeyUsage.of(suite) is None


@pytest.mark.parametrize(("share", "wear"), [
    (0, Wear.FRESH), (899, Wear.FRESH), (900, Wear.WORN), (939, Wear.WORN), (940, Wear.SPENT), (969, Wear.SPENT),
    (970, Wear.OVERDUE), (2000, Wear.OVERDUE),
])  # fmt: skip
def test_the_direction_that_is_used_more_decides(share, wear):
    assert used(sent=share).wear is used(received=share).wear is used(sent=share, received=share // 2).wear is wear


def test_between_spent_and_the_limit_there_is_room_for_any_operation():
    left = RECORDS_PER_KEY["GCM"] * (1 - Wear.SPENT.value)
    assert left * FULL_RECORD > 20 * 2**30


@pytest.mark.parametrize("sizes", [[1], [FULL_RECORD], [FULL_RECORD + 1], [100, 20_000, 3 * FULL_RECORD, 5]])
def test_the_bounds_are_bounds_against_the_installed_openssl(link, policy, sizes):
    """Never fewer than the records on the wire, and for full records hardly more."""
    wire = link(policy).pump()
    before = wire.server_user.evidence.octets
    usage = KeyUsage(10**6)
    for size in sizes:
        wire.client_user.transport.write(bytes(size))
        usage.wrote(size)
    stream = b"".join(wire.client_end.sent)
    wire.pump()
    assert wire.server_user.evidence.octets - before == len(stream)
    records = 0
    while stream:
        records += 1
        stream = stream[5 + int.from_bytes(stream[3:5], "big"):]
    usage.read(wire.server_user.evidence.octets - before, sum(sizes))
    assert records <= usage.sent <= records + len(sizes)
    assert records <= usage.received <= 2 * records


def test_commands_count_as_overhead():
    """So that many small messages only end a connection sooner."""
    usage = used()
    usage.read(octets=100 * (OVERHEAD + 80), data=0)
    assert usage.received > 100
    usage.read(octets=10, data=50)  # a data set is counted when its fragment begins
    assert usage.received == 0


def test_what_is_said_of_it_names_both_sides():
    assert str(used(sent=3, received=4)) == "3 records sent and 4 received at most, of 1000 that a key may protect"

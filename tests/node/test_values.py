import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dimsetls.node import choices, values
from dimsetls.node.values import Reference
from dimsetls.tls.policy import ClientCertificate


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("5m", 300), ("500ms", 0.5), ("1.5s", 1.5), ("2 h", 7200), ("0s", 0)],
)
def test_a_duration_is_read_as_seconds(text, seconds):
    assert values.duration("0s", "24h").parse(text) == seconds


@pytest.mark.parametrize("text", ["30", "-1s", "s", "1d", "1e3s", "30S", "٣s", "0.5", "99999999999s", ".5s"])
def test_no_duration(text):
    with pytest.raises(ValueError, match="expected a duration with its unit"):
        values.duration("0s", "24h").parse(text)


def test_a_duration_out_of_range_names_the_range():
    with pytest.raises(ValueError, match=r"found '2h', expected a duration .* from 100ms to 1h"):
        values.duration("100ms", "1h").parse("2h")


def test_a_number_without_unit_asks_for_seconds():
    with pytest.raises(ValueError, match=r"did you mean 30s\?"):
        values.duration("0s", "1h").parse("30")


@pytest.mark.parametrize(("text", "number"), [("262144", 262144), ("256KiB", 262144), ("1 MiB", 1 << 20), ("7B", 7)])
def test_a_size_is_read_as_bytes(text, number):
    assert values.size("0", "1GiB").parse(text) == number


@pytest.mark.parametrize(("text", "meant"), [("256KB", "256KiB"), ("9k", "9KiB"), ("3mb", "3MiB"), ("1gib", "1GiB")])
def test_a_decimal_or_sloppy_unit_is_not_guessed_but_asked_about(text, meant):
    with pytest.raises(ValueError, match=rf"found '{text}', expected a size .*; did you mean {meant}\?"):
        values.size("0", "1GiB").parse(text)


def test_a_size_out_of_range_names_the_range():
    with pytest.raises(ValueError, match="from 4KiB to 16MiB"):
        values.size("4KiB", "16MiB").parse("4095")


@pytest.mark.parametrize("text", ["-1", "65536", "1_000", "0x10", "", "12a", "²", "9" * 5000])
def test_no_integer(text):
    with pytest.raises(ValueError, match="expected a whole number from 0 to 65535"):
        values.integer(0, 65535).parse(text)


@pytest.mark.parametrize("text", ["A", "DIMSETLS", "A TITLE,#;[1]", "x" * 16, "~!@$%^&*()_+"])
def test_an_ae_title_is_taken_letter_by_letter(text):
    assert values.AE_TITLE.parse(text) == text


@pytest.mark.parametrize("text", ["", "x" * 17, "A\\B", "Ä", "A\tB", "A\x7f"])
def test_no_ae_title(text):
    with pytest.raises(ValueError, match="expected an AE title: 1 to 16 printable ASCII characters without a backsl"):
        values.AE_TITLE.parse(text)


@pytest.mark.parametrize("text", ["any", "all", "none", "", "a,b", "-a", "a b", "ä", "x" * 65])
def test_no_name(text):
    with pytest.raises(ValueError, match="expected a name of letters"):
        values.NAME.parse(text)


@pytest.mark.parametrize(
    ("text", "address"), [("127.0.0.1", "127.0.0.1"), ("0::1", "::1"), ("fe80::1%eth0", "fe80::1%eth0")],
)
def test_an_address_is_put_in_its_usual_form(text, address):
    assert values.ADDRESS.parse(text) == address


@pytest.mark.parametrize(("text", "meant"), [("localhost", "127.0.0.1"), ("*", "0.0.0.0")])
def test_a_name_in_place_of_an_address(text, meant):
    with pytest.raises(ValueError, match=rf"found {re.escape(repr(text))}, expected an IPv4 .* mean {meant}\?"):
        values.ADDRESS.parse(text)


def test_a_network_with_bits_of_a_host():
    with pytest.raises(ValueError, match=r"found '10\.1\.2\.3/16', .*; did you mean 10\.1\.0\.0/16\?"):
        values.NETWORK.parse("10.1.2.3/16")


def test_a_single_address_is_a_network():
    assert values.NETWORK.parse("10.1.2.3").num_addresses == 1


def test_a_choice_stands_for_its_meaning():
    assert choices.CLIENT_CERTIFICATE.parse("optional") is ClientCertificate.OPTIONAL


def test_a_choice_misspelt():
    with pytest.raises(ValueError, match=r"found 'requierd', expected one of required, optional, none; .* required"):
        choices.CLIENT_CERTIFICATE.parse("requierd")


@pytest.mark.parametrize(("text", "problem"), [
    ("1.1", "found '1.1', which RFC 8996 forbids, expected 1.2 or 1.3$"),
    ("1.0", "found '1.0', which RFC 8996 forbids, expected"),
    ("TLSv1", "found 'TLSv1', which RFC 8996 forbids, expected"),
    ("tls 1.1", "found 'tls 1.1', which RFC 8996 forbids, expected"),
    ("SSLv3", "found 'SSLv3', which RFC 7568 forbids, expected"),
    ("1.4", "found '1.4', expected 1.2 or 1.3; did you mean"),
    ("TLS 1.2", "found 'TLS 1.2', expected 1.2 or 1.3; did you mean 1.2?"),
])  # fmt: skip
def test_a_version_of_tls_that_is_forbidden_is_no_misspelling(text, problem):
    with pytest.raises(ValueError, match=problem):
        choices.TLS_VERSION.parse(text)


def test_a_list_has_no_empty_place_and_nothing_twice():
    names = values.list_of(values.NAME, "names")
    assert names.parse("a, b,c") == ("a", "b", "c")
    with pytest.raises(ValueError, match="found nothing, expected a list without empty places"):
        names.parse("a,,b")
    with pytest.raises(ValueError, match="found 'a' twice, expected each item of the list once"):
        names.parse("a, b, a")


@pytest.mark.parametrize(("text", "items"), [
    ('"a, b"', ("a, b",)), ('a, "b, c" ,d', ("a", "b, c", "d")), ('a"b, c"d', ('a"b, c"d',)), ('a", b', ('a"', "b")),
    ('"a b",c', ("a b", "c")),
])  # fmt: skip
def test_a_comma_between_double_quotes_belongs_to_its_item(text, items):
    assert values.list_of(values.WORD, "words").parse(text) == items


def test_all_transfer_syntaxes_begin_with_those_no_sender_compresses_for_and_end_with_lossy_ones():
    every = choices.TRANSFER_SYNTAXES.parse("all")
    assert every[:2] == ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2")
    for uid in ("1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.107"):
        assert uid in every
    lossless, lossy, near_lossless = (every.index(f"1.2.840.10008.1.2.4.{last}") for last in (80, 50, 81))
    assert lossless < min(lossy, near_lossless)
    assert not [uid for uid in every if uid.startswith(("1.2.840.10008.1.2.6.", "1.2.840.10008.1.2.7."))]


def test_transfer_syntaxes_keep_the_order_given_and_may_be_private():
    private = "1.3.46.670589.33.1.4.1"
    assert choices.TRANSFER_SYNTAXES.parse(f"JPEGLSLossless, 1.2.840.10008.1.2.1, {private}") == (
        "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.1", private,
    )


@pytest.mark.parametrize(("text", "sentence"), [
    ("ExplicitLittleEndian", r"'ExplicitLittleEndian', expected all, .*; did you mean ExplicitVRLittleEndian\?"),
    ("1.2.", r"found '1\.2\.', expected all, or keywords"),
    ("2", "found '2', expected all, or keywords"),
    ("ImplicitVRLittleEndian, 1.2.840.10008.1.2", "although 1.2.840.10008.1.2 is in the list, expected each"),
])
def test_no_transfer_syntaxes(text, sentence):
    with pytest.raises(ValueError, match=sentence):
        choices.TRANSFER_SYNTAXES.parse(text)


@pytest.mark.parametrize("text", ["ssl:2762", "tls:2762", "dicomtls:2762", "haproxy:ssl:2762"])
def test_an_endpoint_has_no_tls_of_its_own(text):
    with pytest.raises(ValueError, match="expected a Twisted server endpoint string without TLS"):
        values.ENDPOINT.parse(text)


def test_a_reference_says_what_it_refers_to():
    assert Reference("tls").expected == "the name of a [tls] section"
    several = Reference("peer", many=True, any_word="any")
    assert several.expected == "any, or names of [peer] sections, separated by commas"


def test_a_long_or_unprintable_text_is_shown_short_and_quoted():
    assert values.quote("a\x00b") == r"'a\x00b'"
    assert len(values.quote("x" * 1000)) == 62
    assert values.quote("") == "nothing"


EVERY_TYPE = [
    values.choice(["text", "json"]), values.integer(0, 65535), values.duration("0s", "1h"), values.size("0", "16MiB"),
    values.AE_TITLE, values.NAME, values.ADDRESS, values.NETWORK, values.PATH, values.ENDPOINT, choices.PROFILE,
    choices.TRANSFER_SYNTAXES, values.list_of(values.NETWORK, "networks"),
]


@given(st.sampled_from(EVERY_TYPE), st.text(st.characters(exclude_categories=["Cc", "Cs"])))
def test_a_type_takes_a_text_or_raises_value_error_that_names_both_sides(kind, text):
    try:
        kind.parse(text)
        said = "found x, expected y"
    except ValueError as error:
        said = str(error)
    assert re.match(r"found .*, expected ", said)

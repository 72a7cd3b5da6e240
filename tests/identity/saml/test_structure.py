"""Every document here that is refused holds a genuine signature, unless the lack of one is the matter."""

from __future__ import annotations

import ctypes
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from dimsetls.errors import IdentityDenied
from dimsetls.identity.saml.structure import (
    DEEPEST,
    LONGEST,
    LONGEST_TAG,
    MOST_ELEMENTS,
    only,
    outline,
    parser,
    text_of,
)

from ...servers.saml_idp import DS, SAML, WRAPPINGS, A, IdentityProvider, S, serialized

IDP = IdentityProvider()
GOOD = IDP.assertion()
BARE = GOOD.partition(b"?>\n")[2]  # without the XML declaration


def refusal(document: bytes) -> IdentityDenied:
    with pytest.raises(IdentityDenied) as caught:
        outline(document)
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    return caught.value


def changed(old: str, new: str, count: int = 1) -> bytes:
    """The good assertion with a piece of its text replaced."""
    assert old.encode() in GOOD
    return GOOD.replace(old.encode(), new.encode(), count)


def with_more(more: str) -> bytes:
    """The good assertion with something more in its last statement."""
    return changed("</saml:AttributeStatement>", more + "</saml:AttributeStatement>")


@pytest.mark.parametrize("document", [
    GOOD,
    BARE,
    b" \r\n" + BARE + b"\n ",
    b'<?xml version="1.0" encoding="utf-8" standalone="yes"?>' + BARE,
    b"<?xml version='1.0'?>" + BARE,
    changed("alice", "J&#xF6;rg &amp; &lt;Co&gt;"),
    changed("alice", "Jörg"),
    BARE.replace(b"<saml:", b"<").replace(b"</saml:", b"</").replace(b"xmlns:saml=", b"xmlns="),
    BARE.replace(b"<ds:", b"<saml2:").replace(b"</ds:", b"</saml2:").replace(b"xmlns:ds=", b"xmlns:saml2="),
    IDP.sign(IDP.build(), prefixes=["xs", "saml"]),
    GOOD.replace(b"><", b">\n  <"),
])
def test_one_assertion_has_many_spellings(document):
    found = outline(document)
    assert (found.root.tag, found.issuer) == (f"{{{SAML}}}Assertion", IDP.issuer)
    assert found.identifier.encode() in GOOD or b"PrefixList" in document


def test_what_the_signature_says_of_its_key_is_taken_away():
    assert b"KeyInfo" in GOOD
    assert outline(GOOD).root.find(f".//{{{DS}}}KeyInfo") is None


def test_a_certificate_of_the_holder_of_a_key_is_left():
    kept = with_more("<ds:KeyInfo xmlns:ds='http://www.w3.org/2000/09/xmldsig#'/>")
    assert outline(kept).root.find(f".//{{{DS}}}KeyInfo") is not None


@pytest.mark.parametrize("how", WRAPPINGS)
def test_wrapped_signatures(how):
    error = refusal(serialized(WRAPPINGS[how](GOOD)))
    if "Response" in str(error):
        assert "expected Assertion of SAML 2.0 alone" in str(error)
    else:
        assert "2 assertions are in one another" in str(error)
        assert error.is_security_alert


@pytest.mark.parametrize("how", ["original_in_the_signature", "original_before_the_signature", "original_in_the_forged",
                                 "original_in_an_object"])  # fmt: skip
def test_wrapped_signatures_with_one_id_for_both(how):
    root = WRAPPINGS[how](GOOD)
    identifier = outline(GOOD).identifier
    root.set("ID", identifier)
    assert refusal(serialized(root)).is_security_alert


def test_an_id_twice_is_refused_where_the_other_is_no_assertion():
    identifier = outline(GOOD).identifier
    for attribute in ("ID", "Id", "id", "xml:id", "saml:ID"):
        error = refusal(with_more(f'<saml:Attribute {attribute}="{identifier}"/>'))
        assert "has an ID twice" in str(error)
        assert error.is_security_alert


def test_an_assertion_of_another_namespace_counts_too():
    assert "2 assertions" in str(refusal(with_more('<x:Assertion xmlns:x="urn:x"/>')))


def test_a_second_signature_anywhere():
    for more in (f'<x xmlns:ds="{DS}"><ds:Signature/></x>', '<x:Signature xmlns:x="urn:x"/>'):
        error = refusal(with_more(more))
        assert "has 2 signatures, expected one" in str(error)
        assert error.is_security_alert


def response(content: bytes) -> bytes:
    return b'<samlp:Response xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol">' + content + b"</samlp:Response>"


@pytest.mark.parametrize(("document", "words"), [
    (response(BARE), "the root element is 'Response'"),
    (b'<saml:EncryptedAssertion xmlns:saml="%s"/>' % SAML.encode(), "the root element is 'EncryptedAssertion'"),
    (BARE.replace(SAML.encode(), b"urn:oasis:names:tc:SAML:1.0:assertion"), "expected Assertion of SAML 2.0"),
    (changed('Version="2.0"', 'Version="1.1"'), "expected Assertion of SAML 2.0"),
    (with_more("<saml:EncryptedAttribute/><saml:EncryptedID/>"), "has 'EncryptedAttribute', 'EncryptedID' in it"),
    (serialized(IDP.build()), "the assertion has 0 signatures, expected one"),
    (changed('<saml:Issuer>', '<saml:Advice/><saml:Issuer>'), "does not begin with Issuer and Signature"),
    (changed("</ds:Signature>", "</ds:Signature><saml:Issuer>x</saml:Issuer>"), "parts that SAML 2.0 does not know"),
    (changed("</saml:Issuer>", "<saml:x/></saml:Issuer>"), "Issuer has elements in it"),
    (changed(' ID="', ' ID="1'), "no ID of up to 256 ASCII letters"),
    (changed(' ID="', ' Ident="'), "no ID of up to 256 ASCII letters"),
    (changed(' ID="', ' ID="' + 257 * "x"), "no ID of up to 256 ASCII letters"),
    (b"", "not an XML document in UTF-8 that begins"),
    (b"PHNhbWw6", "not an XML document in UTF-8 that begins"),
    (BARE[:-5], "a tag that is not whole"),
    (BARE[: BARE.rindex(b"</")], "not well-formed XML"),
    (BARE + BARE, "not well-formed XML"),
    (changed("saml:Subject>", "x:Subject>", 2), "not well-formed XML"),
    (changed("alice", "a\0lice"), "not well-formed XML"),
    (changed("alice", "a&#0;lice"), "not well-formed XML"),
    (changed("alice", "<b"), "a tag that is not whole"),
])  # fmt: skip
def test_what_is_no_assertion_by_itself(document, words):
    assert words in str(refusal(document))


ENVELOPED = '<ds:Transform Algorithm="http://www.w3.org/2000/09/xmldsig#enveloped-signature"/>'
EXCLUSIVE = '<ds:Transform Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"/>'
C14N = '<ds:CanonicalizationMethod Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"/>'
METHOD = '<ds:SignatureMethod Algorithm="http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256"/>'
PREFIXES = '<ec:InclusiveNamespaces xmlns:ec="http://www.w3.org/2001/10/xml-exc-c14n#" PrefixList="{}"/>'
OTHER_FORM = "the canonicalization is another than the exclusive one without comments"
SECOND = "<ds:Reference URI='#x'/></ds:SignedInfo>"


@pytest.mark.parametrize(("document", "words"), [
    (changed("<ds:SignatureValue>", "<ds:Object/><ds:SignatureValue>"), "the signature has other parts than"),
    (changed("</ds:Signature>", "<ds:Object/></ds:Signature>"), "the signature has other parts than"),
    (changed("</ds:Signature>", "<ds:KeyInfo/></ds:Signature>"), "the signature has other parts than"),
    (changed("</ds:SignedInfo>", SECOND), "signs other things than one Reference"),
    (changed(' URI="#', ' URI="#_'), "does not refer to the assertion by its ID"),
    (changed(' URI="', ' URI="http://x.example/a'), "does not refer to the assertion by its ID"),
    (changed(' URI="', ' URL="'), "does not refer to the assertion by its ID"),
    (IDP.sign(IDP.build(), uri=""), "does not refer to the assertion by its ID"),
    (changed(ENVELOPED, ""), "the transforms are not"),
    (changed(EXCLUSIVE, ""), "the transforms are not"),
    (changed(ENVELOPED + EXCLUSIVE, EXCLUSIVE + ENVELOPED), "the transforms are not"),
    (changed(EXCLUSIVE, EXCLUSIVE * 2), "the transforms are not"),
    (changed(ENVELOPED, ENVELOPED.replace("/>", "><x/></ds:Transform>")), "the transforms are not"),
    (changed("<ds:DigestMethod", "<ds:X/><ds:DigestMethod"), "the Reference has other parts"),
    (changed(C14N, C14N.replace("#", "#WithComments")), OTHER_FORM),
    (changed(C14N, C14N.replace("2001/10/xml-exc-c14n#", "TR/2001/REC-xml-c14n-20010315")), OTHER_FORM),
    (changed(C14N, C14N.replace("/>", "><x/></ds:CanonicalizationMethod>")), OTHER_FORM),
    (changed(C14N, C14N.replace("/>", f">{PREFIXES.format('')}</ds:CanonicalizationMethod>")), OTHER_FORM),
    (changed(METHOD, METHOD.replace("/>", "><ds:HMACOutputLength>0</ds:HMACOutputLength></ds:SignatureMethod>")),
     "the signature algorithm is"),
    (changed("<ds:DigestValue>", "<ds:DigestValue><x/>"), "DigestValue has elements in it"),
    (changed("<ds:DigestValue>", "<ds:DigestValue>*"), "a value that is not base64"),
    (changed("<ds:SignatureValue>", "<ds:SignatureValue></ds:SignatureValue><ds:X>").replace(
        b"</ds:SignatureValue><ds:KeyInfo>", b"</ds:X><ds:KeyInfo>"), "the signature has other parts"),
])  # fmt: skip
def test_signatures_of_another_shape(document, words):
    assert words in str(refusal(document))


def test_an_empty_signature_value():
    root = etree.fromstring(GOOD)
    root.find(f".//{{{DS}}}SignatureValue").text = ""
    assert "a value that is not base64" in str(refusal(serialized(root)))


@pytest.mark.parametrize("algorithm", [
    "http://www.w3.org/TR/1999/REC-xslt-19991116", "http://www.w3.org/TR/1999/REC-xpath-19991116",
    "http://www.w3.org/2000/09/xmldsig#base64", "http://www.w3.org/2002/06/xmldsig-filter2",
])  # fmt: skip
def test_a_transform_that_runs_a_program_or_chooses(algorithm):
    signed = IDP.sign(IDP.build(), transforms=[S.Transform(S.XPath("true()"), Algorithm=algorithm)])
    error = refusal(signed)
    assert "the transforms are not the enveloped signature and then exclusive canonicalization" in str(error)
    assert error.is_security_alert


# What a parser could fetch, expand or drop ----------------------------------------------------------------------------

DOCTYPE = b"<!DOCTYPE saml:Assertion [%s]>"
LAUGHS = b"".join(b'<!ENTITY l%d "%s">' % (level + 1, b"&l%d;" % level * 10) for level in range(9))


@pytest.mark.parametrize("document", [
    DOCTYPE % b"" + BARE,
    DOCTYPE % b'<!ENTITY e "mallory">' + BARE.replace(b"alice", b"&e;"),
    DOCTYPE % (b'<!ENTITY l0 "ha">' + LAUGHS) + BARE.replace(b"alice", b"&l9;"),
    DOCTYPE % b'<!ENTITY % e SYSTEM "file:///etc/passwd"> %e;' + BARE,
    DOCTYPE % b"<!ATTLIST saml:Assertion evil ID #IMPLIED>" + BARE,
    changed("alice", "mallory<!-- -->.alice"),
    changed("alice", "<!-- x -->alice"),
    changed("alice", "<![CDATA[alice]]>"),
    changed("alice", "al<?x y?>ice"),
    b"<?xml-stylesheet href='http://x.example/'?>" + BARE,
    BARE + b"<!-- x -->",
])  # fmt: skip
def test_other_markup_than_elements(document):
    error = refusal(document)
    assert "a DOCTYPE, a comment, CDATA or a processing instruction" in str(error)
    assert error.is_security_alert


@pytest.mark.parametrize("reference", ["&e;", "&e", "&", "&#x;", "&#x110000000;", "&nbsp;"])
def test_references_to_entities(reference):
    assert "refers to an entity" in str(refusal(changed("alice", reference)))


@pytest.mark.parametrize(("document", "words"), [
    (GOOD.decode().encode("utf-16"), "not in UTF-8"),
    (BARE.decode().encode("utf-16-le"), "a tag that is not whole"),
    (BARE.decode().encode("utf-32-be"), "not an XML document in UTF-8"),
    (BARE.decode().replace("alice", "Jörg").encode("latin-1"), "not in UTF-8"),
    (BARE.replace(b"<", b"+ADw-"), "not an XML document in UTF-8"),
    (b"\xef\xbb\xbf" + BARE, "not an XML document in UTF-8"),
    (b'<?xml version="1.0" encoding="UTF-7"?>' + BARE, "a processing instruction"),
    (b'<?xml version="1.0" encoding="UTF-16"?>' + BARE, "a processing instruction"),
    (b'<?xml version="1.0" encoding="ISO-8859-1"?>' + BARE, "a processing instruction"),
    (b'<?xml version="1.1"?>' + BARE, "a processing instruction"),
    (BARE.decode().encode("cp037"), "not in UTF-8"),
])  # fmt: skip
def test_other_encodings(document, words):
    assert words in str(refusal(document))


class Watched:
    """A file and a port that tell whether anybody came: by inotify, and by the queue of those that wait."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_text("mallory")
        libc = ctypes.CDLL(None, use_errno=True)
        self._events = libc.inotify_init1(os.O_NONBLOCK)
        assert libc.inotify_add_watch(self._events, bytes(path), 0x21) > 0  # IN_ACCESS and IN_OPEN
        self._port = socket.create_server(("127.0.0.1", 0))
        self._port.setblocking(False)
        self.url = f"http://127.0.0.1:{self._port.getsockname()[1]}/evil.dtd"

    def visits(self) -> int:
        found = 0
        try:
            found += bool(os.read(self._events, 65536))
        except BlockingIOError:
            pass
        try:
            self._port.accept()[0].close()
            found += 1
        except BlockingIOError:
            pass
        return found

    def close(self) -> None:
        os.close(self._events)
        self._port.close()


@pytest.fixture
def watched(tmp_path):
    made = Watched(tmp_path / "secret")
    yield made
    made.close()


def test_the_watch_sees_a_visit(watched):
    assert watched.visits() == 0
    assert watched.path.read_text() == "mallory"
    socket.create_connection(("127.0.0.1", int(watched.url.split(":")[2].partition("/")[0]))).close()
    assert watched.visits() == 2


EXTERNAL: dict[str, Callable[[str], str]] = {
    "DTD": lambda place: f'<!DOCTYPE saml:Assertion SYSTEM "{place}">',
    "public DTD": lambda place: f'<!DOCTYPE saml:Assertion PUBLIC "-//X//Y" "{place}">',
    "entity": lambda place: f'<!DOCTYPE saml:Assertion [<!ENTITY e SYSTEM "{place}">]>',
    "parameter entity": lambda place: f'<!DOCTYPE saml:Assertion [<!ENTITY % p SYSTEM "{place}"> %p;]>',
}


@pytest.mark.parametrize("external", EXTERNAL)
def test_nothing_is_fetched_or_read(external, watched):
    for place in (watched.url, watched.path.as_uri(), str(watched.path)):
        doctype = EXTERNAL[external](place).encode()
        refusal(doctype + BARE.replace(b"alice", b"&e;"))
        refusal(b'<?xml version="1.0"?>' + doctype + BARE)
    assert watched.visits() == 0


@pytest.mark.parametrize("external", EXTERNAL)
def test_the_parser_alone_would_fetch_and_read_nothing_either(external, watched):
    """What is refused before would do no harm: two locks on one door."""
    for place in (watched.url, watched.path.as_uri()):
        try:
            document = EXTERNAL[external](place).encode() + BARE.replace(b"alice", b"<e>&e;</e>")
            root = etree.fromstring(document, parser())
            assert b"mallory" not in etree.tostring(root)
        except etree.XMLSyntaxError:
            pass
    assert watched.visits() == 0


def test_xinclude_and_schema_locations_are_attributes_and_elements_like_others(watched):
    included = f'<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="{watched.path}" parse="text"/>'
    schema = f'<x xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="{SAML} {watched.url}"/>'
    root = outline(with_more(included + schema)).root
    assert b"mallory" not in etree.tostring(root)
    assert watched.visits() == 0


# Bounds ---------------------------------------------------------------------------------------------------------------


def padded(size: int) -> bytes:
    document = changed("alice", "a" * (size - len(GOOD) + len("alice")))
    assert len(document) == size
    return document


def test_the_longest_and_one_more():
    assert outline(padded(LONGEST))
    assert f"has {LONGEST + 1} octets, expected {LONGEST}" in str(refusal(padded(LONGEST + 1)))


def test_the_deepest_and_one_more():
    def nested(levels: int) -> bytes:
        return with_more("<a>" * levels + "</a>" * levels)

    assert outline(nested(DEEPEST - 2))
    assert f"deeper than {DEEPEST} elements" in str(refusal(nested(DEEPEST - 1)))
    assert f"deeper than {DEEPEST} elements" in str(refusal(b"<a>" * 4000))
    assert outline(with_more("<a/>" * 100))  # which is not deep


def test_very_many_elements():
    assert outline(with_more("<a/>" * (MOST_ELEMENTS - 100)))
    error = refusal(with_more("<a/>" * (2 * MOST_ELEMENTS)))
    assert f"expected {2 * MOST_ELEMENTS} at the most" in str(error)


def test_very_many_attributes_or_namespaces():
    for one in ('a{}=""', 'xmlns:a{}="u:{}"'):
        many = " ".join(one.format(number, number) for number in range(1000))
        assert f"a tag longer than {LONGEST_TAG} octets" in str(refusal(with_more(f"<a {many}/>")))


def test_a_tag_ends_where_it_ends():
    """A `>` or `/>` in the value of an attribute ends nothing, or depth could be hidden."""
    tricky = "<a b='/>'>" * (DEEPEST - 2) + "</a>" * (DEEPEST - 2)
    assert outline(with_more(tricky))
    assert "deeper than" in str(refusal(with_more("<a b='/>'>" * DEEPEST + "</a>" * DEEPEST)))
    assert "deeper than" in str(refusal(with_more('<a b=">" c="/>">' * DEEPEST + "</a>" * DEEPEST)))


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(GOOD)), st.integers(0, 40), st.binary(max_size=20) | st.sampled_from([
    b"<", b">", b"<!--", b"&", b"'", b'"', b"</", b"/>", b"<x:", b' ID="a"', b"<ds:Signature/>", b"\0", b"xmlns",
]))  # fmt: skip
def test_whatever_is_done_to_an_assertion_it_has_an_outline_or_is_refused(start, length, inserted):
    document = GOOD[:start] + inserted + GOOD[start + length :]
    try:
        found = outline(document).root.tag
    except IdentityDenied as error:
        found = str(error)
    assert found == f"{{{SAML}}}Assertion" or found.isprintable()


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_whatever_comes_is_refused(octets):
    refusal(octets)


# Children and text ----------------------------------------------------------------------------------------------------


def test_the_only_child():
    one = A.Issuer("a")
    assert only(A.Subject(one), f"{{{SAML}}}Issuer") is one
    for several in (A.Subject(), A.Subject(A.Issuer("a"), A.Issuer("b"))):
        with pytest.raises(IdentityDenied, match=r"^[02] elements Issuer are in Subject, expected one$"):
            only(several, f"{{{SAML}}}Issuer")


def test_text_alone():
    assert text_of(A.NameID(" alice\n")) == "alice"
    assert text_of(A.NameID()) == ""
    with pytest.raises(IdentityDenied, match="NameID has elements in it, expected text alone"):
        text_of(A.NameID("alice", A.x()))

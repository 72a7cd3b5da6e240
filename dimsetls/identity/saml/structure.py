"""The octets of a SAML 2.0 assertion become an element that can be read in one way only (SAML core §2, §5.4).

Signature wrapping works where the element that is verified and the element that is read can be two. Here they cannot:
there is one assertion, which is the root; one signature, in its place; one reference, which is to the root; and no ID
twice. What a parser could fetch, expand or drop is refused before it sees it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, TypeAlias

from lxml import etree

from ...errors import IdentityDenied

Element: TypeAlias = Any
"""Of lxml, which has no annotations."""

SAML = "{urn:oasis:names:tc:SAML:2.0:assertion}"
DS = "{http://www.w3.org/2000/09/xmldsig#}"
EXCLUSIVE = "http://www.w3.org/2001/10/xml-exc-c14n#"
ENVELOPED = "http://www.w3.org/2000/09/xmldsig#enveloped-signature"

LONGEST = 65535
"""Octets: no user identity can be longer (PS3.7 Table D.3-14)."""

DEEPEST = 16
MOST_ELEMENTS = 2048
LONGEST_TAG = 2048
"""Octets, and so a bound of attributes and namespaces: what canonicalization costs grows faster than their number."""

SIGNATURE_METHODS = frozenset({
    "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256",
    "http://www.w3.org/2001/04/xmldsig-more#rsa-sha384",
    "http://www.w3.org/2001/04/xmldsig-more#rsa-sha512",
    "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256",
    "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384",
    "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha512",
    "http://www.w3.org/2007/05/xmldsig-more#sha256-rsa-MGF1",
    "http://www.w3.org/2007/05/xmldsig-more#sha384-rsa-MGF1",
    "http://www.w3.org/2007/05/xmldsig-more#sha512-rsa-MGF1",
})
DIGEST_METHODS = frozenset({
    "http://www.w3.org/2001/04/xmlenc#sha256",
    "http://www.w3.org/2001/04/xmldsig-more#sha384",
    "http://www.w3.org/2001/04/xmlenc#sha512",
})

_DECLARATION = re.compile(
    rb"""<\?xml\s+version=(["'])1\.0\1(?:\s+encoding=(["'])utf-8\2)?(?:\s+standalone=(["'])(?:yes|no)\3)?\s*\?>""", re.I
)
_TAG = re.compile(rb"""<(/?)[A-Za-z_](?:[^<>"']++|"[^<"]*+"|'[^<']*+')*+>""")
_REFERENCE = re.compile(rb"&(?!(?:amp|lt|gt|quot|apos|#[0-9]{1,7}|#x[0-9A-Fa-f]{1,6});)")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,255}\Z")
_BASE64 = re.compile(r"[A-Za-z0-9+/=\s]+\Z")
_PARTS = frozenset(SAML + name for name in (
    "Subject", "Conditions", "Advice", "AuthnStatement", "AuthzDecisionStatement", "AttributeStatement",
))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Outline:
    """An assertion whose shape is good. Nothing in it is verified yet, the issuer neither."""

    root: Element
    issuer: str
    identifier: str


def parser() -> Any:
    """A parser that fetches nothing and expands nothing, whatever it is given; one for each document."""
    return etree.XMLParser(
        encoding="utf-8", resolve_entities=False, no_network=True, load_dtd=False, dtd_validation=False,
        huge_tree=False, remove_comments=True, remove_pis=True,
    )  # fmt: skip


def outline(octets: bytes) -> Outline:
    """The assertion in an XML document, if its shape is good. Raises IdentityDenied."""
    try:
        root = etree.fromstring(_bounded(octets), parser())
    except etree.XMLSyntaxError:
        raise IdentityDenied("the assertion is not well-formed XML with namespaces") from None
    _need(root.tag == SAML + "Assertion" and root.get("Version") == "2.0",
          f"the root element is {shown(etree.QName(root).localname)}, expected Assertion of SAML 2.0 alone")
    identifier = root.get("ID", "")
    _need(_IDENTIFIER.match(identifier), "the assertion has no ID of up to 256 ASCII letters, digits, '.', '-' and '_'")
    _judge_one_reading(root)
    _need(len(root) > 1 and root[0].tag == SAML + "Issuer" and root[1].tag == DS + "Signature",
          "the assertion does not begin with Issuer and Signature, in this order")
    _need({part.tag for part in root[2:]} <= _PARTS, "the assertion has parts that SAML 2.0 does not know")
    _judge_signature(root[1], identifier)
    # What it says of the key is nobody's word: the keys that count are in the configuration.
    for key_info in root[1].findall(DS + "KeyInfo"):
        root[1].remove(key_info)
    return Outline(root, text_of(root[0]), identifier)


def only(node: Element, name: str) -> Element:
    """The one child of that name. Raises IdentityDenied."""
    found = node.findall(name)
    _need(len(found) == 1, f"{len(found)} elements {etree.QName(name).localname} are in "
                           f"{etree.QName(node).localname}, expected one")
    return found[0]


def text_of(node: Element) -> str:
    """The text of an element that has nothing else in it, without the white space around. Raises IdentityDenied."""
    _need(len(node) == 0, f"{etree.QName(node).localname} has elements in it, expected text alone")
    return (node.text or "").strip()


def _bounded(octets: bytes) -> bytes:
    """The document without its XML declaration: UTF-8, small, shallow, and of elements and text alone."""
    _need(len(octets) <= LONGEST, f"the assertion has {len(octets)} octets, expected {LONGEST} at the most")
    try:
        octets.decode()
    except UnicodeDecodeError:
        raise IdentityDenied("the assertion is not in UTF-8") from None
    body = octets.strip()
    if declaration := _DECLARATION.match(body):
        body = body[declaration.end() :].lstrip()
    _need(body[:1] == b"<", "the assertion is not an XML document in UTF-8 that begins with its declaration or root")
    tags = body.count(b"<")
    _need(tags <= 2 * MOST_ELEMENTS, f"the assertion has {tags} tags, expected {2 * MOST_ELEMENTS} at the most")
    depth = 0
    for tag in _TAG.finditer(body):
        tags -= 1
        _need(tag.end() - tag.start() <= LONGEST_TAG, f"the assertion has a tag longer than {LONGEST_TAG} octets")
        if not tag[0].endswith(b"/>"):
            depth += -1 if tag[1] else 1
        _need(depth <= DEEPEST, f"the assertion is deeper than {DEEPEST} elements")
    _need(b"<!" not in body and b"<?" not in body, "the assertion has a DOCTYPE, a comment, CDATA or a processing "
          "instruction, expected elements and text alone", is_attack=True)
    _need(tags == 0, "the assertion has a tag that is not whole")
    _need(not _REFERENCE.search(body), "the assertion refers to an entity, expected characters alone", is_attack=True)
    return body


def _judge_one_reading(root: Element) -> None:
    """Nothing is there twice that a reader could take for the other."""
    elements = list(root.iter())
    names = [etree.QName(element).localname for element in elements]
    encrypted = sorted({name for name in names if name.startswith("Encrypted")})
    _need(not encrypted, f"the assertion has {', '.join(map(shown, encrypted))} in it, expected all in the clear")
    assertions, signatures = names.count("Assertion"), names.count("Signature")
    _need(assertions == 1, f"{assertions} assertions are in one another, expected one", is_attack=True)
    _need(signatures == 1, f"the assertion has {signatures} signatures, expected one", is_attack=signatures > 1)
    identifiers = [
        value for element in elements for name, value in element.attrib.items()
        if etree.QName(name).localname.lower() == "id"
    ]  # fmt: skip
    _need(len(identifiers) == len(set(identifiers)), "the assertion has an ID twice", is_attack=True)


def _judge_signature(signature: Element, identifier: str) -> None:
    """One reference, to the root, enveloped and in exclusive canonical form; SHA-2 alone (SAML core §5.4)."""
    _need(_tags(signature) in (["SignedInfo", "SignatureValue"], ["SignedInfo", "SignatureValue", "KeyInfo"]),
          "the signature has other parts than SignedInfo, SignatureValue and KeyInfo", is_attack=True)
    information, value = signature[0], signature[1]
    _need(_tags(information) == ["CanonicalizationMethod", "SignatureMethod", "Reference"],
          "the signature signs other things than one Reference", is_attack=True)
    canonicalization, method, reference = information
    _need(reference.get("URI") == "#" + identifier,
          "the signature does not refer to the assertion by its ID", is_attack=True)
    _need(_tags(reference) == ["Transforms", "DigestMethod", "DigestValue"],
          "the Reference has other parts than Transforms, DigestMethod and DigestValue")
    transforms, digest, digest_value = reference
    _need(_tags(transforms) == ["Transform", "Transform"]
          and [each.get("Algorithm") for each in transforms] == [ENVELOPED, EXCLUSIVE] and not len(transforms[0]),
          "the transforms are not the enveloped signature and then exclusive canonicalization alone", is_attack=True)
    for form in (canonicalization, transforms[1]):
        _need(form.get("Algorithm") == EXCLUSIVE and all(
            child.tag == f"{{{EXCLUSIVE}}}InclusiveNamespaces" and child.get("PrefixList") for child in form
        ), "the canonicalization is another than the exclusive one without comments")
    for what, algorithm, known in (("signature", method, SIGNATURE_METHODS), ("digest", digest, DIGEST_METHODS)):
        found = algorithm.get("Algorithm", "")
        _need(found in known and not len(algorithm),
              f"the {what} algorithm is {shown(found)}, expected RSA or ECDSA with SHA-256, SHA-384 or SHA-512")
    for encoded in (value, digest_value):
        _need(_BASE64.match(text_of(encoded)), "the signature has a value that is not base64")


def _tags(node: Element) -> list[str]:
    """The names of the children; one of another namespace keeps its own in front."""
    return [child.tag.removeprefix(DS) for child in node]


def shown(text: str) -> str:
    """What a stranger wrote, as a log line shows it."""
    return repr(text if len(text) <= 100 else text[:97] + "...")


def _need(condition: object, sentence: str, *, is_attack: bool = False) -> None:
    if not condition:
        raise IdentityDenied(sentence, is_security_alert=is_attack)

"""An identity provider that issues SAML 2.0 assertions, and what attackers make of them."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_hex
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from lxml import etree
from lxml.builder import ElementMaker
from signxml.algorithms import CanonicalizationMethod, DigestAlgorithm, SignatureConstructionMethod, SignatureMethod
from signxml.signer import XMLSigner

SAML, SAMLP = "urn:oasis:names:tc:SAML:2.0:assertion", "urn:oasis:names:tc:SAML:2.0:protocol"
DS, HL7 = "http://www.w3.org/2000/09/xmldsig#", "urn:hl7-org:v3"
BEARER = "urn:oasis:names:tc:SAML:2.0:cm:bearer"
HOLDER_OF_KEY = "urn:oasis:names:tc:SAML:2.0:cm:holder-of-key"
SENDER_VOUCHES = "urn:oasis:names:tc:SAML:2.0:cm:sender-vouches"
ROLE = "urn:oasis:names:tc:xacml:2.0:subject:role"

A: Any = ElementMaker(namespace=SAML, nsmap={"saml": SAML})
S: Any = ElementMaker(namespace=DS, nsmap={"ds": DS})
P: Any = ElementMaker(namespace=SAMLP, nsmap={"samlp": SAMLP})
H: Any = ElementMaker(namespace=HL7, nsmap={None: HL7})


def moment(after: float = 0.0) -> str:
    """So many seconds from now, as SAML writes it."""
    return f"{datetime.now(UTC) + timedelta(seconds=after):%Y-%m-%dT%H:%M:%SZ}"


def self_signed(
    key: Any, name: str = "idp", days: tuple[float, float] = (-1, 365), hashed: Any = SHA256()  # noqa: B008
) -> x509.Certificate:
    """A certificate that is valid from and to so many days from now."""
    subject, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now + timedelta(days[0])).not_valid_after(now + timedelta(days[1]))
    return builder.sign(key, hashed)


def bearer(end: float | None = 300, **more: str) -> Any:
    data = A.SubjectConfirmationData(**({} if end is None else {"NotOnOrAfter": moment(end)}), **more)
    return A.SubjectConfirmation(data, Method=BEARER)


def holder_of_key(certificate: bytes, **more: str) -> Any:
    """For who has the key of a certificate, given as DER."""
    info = S.KeyInfo(S.X509Data(S.X509Certificate(b64encode(certificate).decode())))
    return A.SubjectConfirmation(A.SubjectConfirmationData(info, **more), Method=HOLDER_OF_KEY)


def attribute(name: str, *values: Any) -> Any:
    return A.Attribute(*(A.AttributeValue(value) for value in values), Name=name)


def hl7_role(code: str, system: str) -> Any:
    """A role as IHE XUA has it."""
    return H.Role(code=code, codeSystem=system, displayName="a role")


class _Signer(XMLSigner):
    """Signs what no identity provider should."""

    uri: str | None = None
    transforms: Iterable[Any] = ()

    def check_deprecated_methods(self) -> None:
        """SHA-1 too."""

    def _build_transforms_for_reference(self, *, transforms_node: Any, **more: Any) -> None:
        super()._build_transforms_for_reference(transforms_node=transforms_node, **more)
        transforms_node.extend(self.transforms)

    def _build_sig(self, root: Any, references: list[Any], *more: Any, **how: Any) -> Any:
        if self.uri is not None:
            references = [replace(each, URI=self.uri) for each in references]
        return super()._build_sig(root, references, *more, **how)


class IdentityProvider:
    """Issues assertions with a key of its own: ECDSA P-256, unless another is given."""

    audience = "urn:example:pacs"

    def __init__(
        self, issuer: str = "https://idp.hospital.example", key: Any = None, days: tuple[float, float] = (-1, 365)
    ) -> None:
        self.issuer = issuer
        self.key = key or ec.generate_private_key(ec.SECP256R1())
        self.certificate = self_signed(self.key, issuer, days)

    def write_certificate(self, path: Path) -> Path:
        path.write_bytes(self.certificate.public_bytes(Encoding.PEM))
        return path

    @property
    def private_key_pem(self) -> bytes:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def build(
        self,
        name: Any = "alice",
        *,
        identifier: str | None = None,
        issued: float = 0,
        start: float | None = 0,
        end: float | None = 300,
        audiences: Iterable[Iterable[str]] | None = None,
        confirmations: Iterable[Any] | None = None,
        conditions: Iterable[Any] = (),
        attributes: Mapping[str, Iterable[Any]] | None = None,
        statements: Iterable[Any] = (),
    ) -> Any:
        """An assertion without its signature. Times are seconds from now."""
        given = {ROLE: ("radiologist",), "groups": ("ct", "mr")} if attributes is None else attributes
        terms = {"NotBefore": start, "NotOnOrAfter": end}
        return A.Assertion(
            A.Issuer(self.issuer),
            A.Subject(
                *(name if isinstance(name, list) else [A.NameID(name)]),
                *([bearer()] if confirmations is None else confirmations),
            ),
            A.Conditions(
                *(A.AudienceRestriction(*(A.Audience(each) for each in several))
                  for several in ([[self.audience]] if audiences is None else audiences)),
                *conditions,
                **{term: moment(value) for term, value in terms.items() if value is not None},
            ),
            A.AuthnStatement(AuthnInstant=moment()),
            *statements,
            *([A.AttributeStatement(*(attribute(each, *values) for each, values in given.items()))] if given else []),
            ID=identifier or f"_{token_hex(16)}", Version="2.0", IssueInstant=moment(issued),
        )

    def sign(
        self,
        assertion: Any,
        *,
        method: SignatureMethod | None = None,
        digest: DigestAlgorithm = DigestAlgorithm.SHA256,
        form: CanonicalizationMethod = CanonicalizationMethod.EXCLUSIVE_XML_CANONICALIZATION_1_0,
        key: Any = None,
        uri: str | None = None,
        transforms: Iterable[Any] = (),
        prefixes: list[str] | None = None,
    ) -> bytes:
        """The assertion with its signature, as SAML wants it, unless told otherwise.

        `uri` is written in place of the reference to the ID, and `transforms` beside those that belong there.
        """
        is_ec = isinstance(self.key, ec.EllipticCurvePrivateKey)
        method = method or (SignatureMethod.ECDSA_SHA256 if is_ec else SignatureMethod.RSA_SHA256)
        signer = _Signer(SignatureConstructionMethod.enveloped, method, digest, form)
        signer.uri, signer.transforms = uri, transforms
        assertion.find(f"{{{SAML}}}Issuer").addnext(S.Signature(Id="placeholder"))
        return serialized(signer.sign(
            assertion, key=key or self.key, cert=None if method.name.startswith("HMAC") else [self.certificate],
            id_attribute="ID", reference_uri=[assertion.get("ID")], inclusive_ns_prefixes=prefixes,
        ))  # fmt: skip

    def assertion(self, name: Any = "alice", **wishes: Any) -> bytes:
        """A good assertion, but for what is wished otherwise."""
        return self.sign(self.build(name, **wishes))


def serialized(root: Any) -> bytes:
    return etree.tostring(root, encoding="UTF-8", xml_declaration=True)


# Signature wrapping (Somorovsky et al., On Breaking SAML, 2012): the signature stays good, another assertion is read.


def _taken_apart(good: bytes) -> tuple[Any, Any, Any, Any]:
    """The original with its signature and without, the signature, and a forged assertion of another user."""
    original = etree.fromstring(good)
    bare = deepcopy(original)
    signature = bare.find(f"{{{DS}}}Signature")
    bare.remove(signature)
    forged = deepcopy(bare)
    forged.set("ID", "_forged")
    forged.find(f".//{{{SAML}}}NameID").text = "mallory"
    return original, bare, signature, forged


def _response(*parts: Any) -> Any:
    return P.Response(*parts, ID="_response", Version="2.0", IssueInstant=moment())


def _original_in_the_signature(good: bytes) -> Any:
    _, bare, signature, forged = _taken_apart(good)
    signature.append(bare)
    forged.insert(1, signature)
    return forged


def _original_before_the_signature(good: bytes) -> Any:
    _, bare, signature, forged = _taken_apart(good)
    forged.insert(1, signature)
    forged.insert(1, bare)
    return forged


def _forged_before_the_original(good: bytes) -> Any:
    original, _, _, forged = _taken_apart(good)
    return _response(forged, original)


def _original_in_the_forged(good: bytes) -> Any:
    original, _, _, forged = _taken_apart(good)
    forged.append(original)
    return forged


def _signature_in_the_forged(good: bytes) -> Any:
    _, bare, signature, forged = _taken_apart(good)
    forged.insert(1, signature)
    return _response(forged, bare)


def _original_in_the_signature_in_a_response(good: bytes) -> Any:
    return _response(_original_in_the_signature(good))


def _original_in_extensions(good: bytes) -> Any:
    original, _, _, forged = _taken_apart(good)
    return _response(P.Extensions(original), forged)


def _original_in_an_object(good: bytes) -> Any:
    _, bare, signature, forged = _taken_apart(good)
    signature.append(S.Object(bare))
    forged.insert(1, signature)
    return forged


def _original_in_advice(good: bytes) -> Any:
    _, bare, signature, forged = _taken_apart(good)
    forged.insert(1, signature)
    forged.append(A.Advice(bare))
    return forged


def _original_in_an_attribute(good: bytes) -> Any:
    _, bare, signature, forged = _taken_apart(good)
    forged.insert(1, signature)
    forged.find(f".//{{{SAML}}}AttributeValue").append(bare)
    return forged


def _original_behind_another_prefix(good: bytes) -> Any:
    """The forged one has its names from a default namespace, the original keeps its prefix."""
    _, bare, signature, forged = _taken_apart(good)
    forged.insert(1, signature)
    outer = etree.tostring(forged)
    for prefixed, plain in ((b"<saml:", b"<"), (b"</saml:", b"</"), (b"xmlns:saml=", b"xmlns=")):
        outer = outer.replace(prefixed, plain)
    return etree.fromstring(outer.replace(b"</Assertion>", etree.tostring(bare) + b"</Assertion>"))


WRAPPINGS: dict[str, Callable[[bytes], Any]] = {
    each.__name__.strip("_"): each for each in (
        _original_in_the_signature, _original_before_the_signature, _forged_before_the_original,
        _original_in_the_forged, _signature_in_the_forged, _original_in_the_signature_in_a_response,
        _original_in_extensions, _original_in_an_object, _original_in_advice, _original_in_an_attribute,
        _original_behind_another_prefix,
    )
}  # fmt: skip
"""What an attacker makes of a good assertion. Each keeps a signature that is good by itself."""

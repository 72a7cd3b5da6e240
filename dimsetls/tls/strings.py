r"""The `dicomtls:` endpoint strings, for serverFromString and clientFromString.

::

    dicomtls:2762:certKey=FILE:privateKey=FILE:trustRoots=FILE
    dicomtls:2762:interface=\:\:1:backlog=50:profile=bcp195-rfc9325:clientCertificate=optional:certKey=…
    dicomtls:2762:transport=memory:certKey=… TLS is carried by Twisted's implementation, not by ours (stream)
    dicomtls:haproxy:tcp:2762:certKey=…      any other server endpoint inside: systemd:, unix:, tcp6:, haproxy:
    dicomtls:host=pacs.example:port=2762:trustRoots=FILE:certKey=FILE:privateKey=FILE

certKey is a PEM file with the certificate and its chain; privateKey may be left out if that file holds the key
as well. The files are read when the string is parsed: ConfigurationError tells all that is wrong with them.
What is wrong with the string itself raises ValueError.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any, TypeVar

from twisted.internet.endpoints import HostnameEndpoint, TCP4ServerEndpoint, TCP6ServerEndpoint, serverFromString
from twisted.internet.interfaces import (
    IStreamClientEndpointStringParserWithReactor,
    IStreamServerEndpoint,
    IStreamServerEndpointStringParser,
)
from twisted.plugin import IPlugin
from zope.interface import implementer

from ..errors import ConfigurationError
from .contexts import ClientConnectionCreator, ServerConnectionCreator
from .endpoints import DicomTLSClientEndpoint, DicomTLSServerEndpoint, Transport
from .material import KeyMaterial, TrustRoots
from .policy import BCP195_RFC9325, ClientCertificate, TLSPolicy, did_you_mean, nearest, profile
from .selfcheck import verify

DICOM_TLS_PORT = 2762
"""`dicom-tls`, recommended by PS3.15 B.12."""

_TLS = ("profile", "certKey", "privateKey", "trustRoots", "transport")
_SERVER = (*_TLS, "clientCertificate")
_TCP = ("interface", "backlog")
_CLIENT = ("host", "port", "serverName", *_TLS, "timeout", "bindAddress")

T = TypeVar("T")
E = TypeVar("E", bound=Enum)


@implementer(IPlugin, IStreamServerEndpointStringParser)
class DicomTLSServerParser:
    """`dicomtls:PORT:…` or `dicomtls:DESCRIPTION OF ANOTHER SERVER ENDPOINT:…`."""

    prefix = "dicomtls"

    def parseStreamServer(self, reactor: Any, *args: Any, **kwargs: Any) -> DicomTLSServerEndpoint:
        inner = {keyword: value for keyword, value in kwargs.items() if keyword not in _SERVER}
        if args and args[0].isdigit():
            _check(args[1:], inner, _TCP, (*_SERVER, *_TCP))
            endpoint = _tcp_endpoint(reactor, args[0], inner)
        elif args and args[0]:
            endpoint = _inner_endpoint(reactor, args, inner)
        else:
            raise ValueError("dicomtls: says not where to listen; expected a port, or another server endpoint")
        policy, trust_roots, key_material = _load(kwargs, need_key=True)
        assert key_material is not None
        if rule := _choice(kwargs, "clientCertificate", ClientCertificate):
            policy = policy.with_client_certificate(rule)
        creator = ServerConnectionCreator(policy, key_material, trust_roots)
        verify(creator)
        return DicomTLSServerEndpoint(endpoint, creator, _choice(kwargs, "transport", Transport))


@implementer(IPlugin, IStreamClientEndpointStringParserWithReactor)
class DicomTLSClientParser:
    """`dicomtls:host=NAME:port=2762:…`; host and port may also come first, without their keywords."""

    prefix = "dicomtls"

    def parseStreamClient(self, reactor: Any, *args: Any, **kwargs: Any) -> DicomTLSClientEndpoint:
        words = dict(zip(("host", "port"), args, strict=False)) | kwargs
        _check(args[2:], words, _CLIENT, _CLIENT)
        host = _required(words, "host", "the server's name or address")
        bind = words.get("bindAddress")
        endpoint = HostnameEndpoint(
            reactor,
            host,
            _number("port", words.get("port", str(DICOM_TLS_PORT)), int),
            _number("timeout", words.get("timeout", "30"), float),
            (bind, 0) if bind else None,
        )
        policy, trust_roots, key_material = _load(words, need_key=False)
        server_name = words.get("serverName", host)
        creator = ClientConnectionCreator(policy, trust_roots, key_material, server_name=server_name)
        verify(creator)
        return DicomTLSClientEndpoint(endpoint, creator, _choice(words, "transport", Transport))


def _load(words: Mapping[str, str], *, need_key: bool) -> tuple[TLSPolicy, TrustRoots, KeyMaterial | None]:
    """Policy, roots and keys that the keywords name, or one ConfigurationError with the problems of all three."""
    roots = _required(words, "trustRoots", "a PEM file of the certificates to trust")
    if need_key or "privateKey" in words:
        _required(words, "certKey", "a PEM file of our certificate and its chain")
    problems: list[str] = []

    def attempt(load: Callable[[], T]) -> T | None:
        try:
            return load()
        except ConfigurationError as error:
            problems.extend(error.problems)
            return None

    policy = attempt(lambda: _profile(words.get("profile", BCP195_RFC9325.name)))
    trust_roots = attempt(lambda: TrustRoots.load(roots))
    key_material = None
    if certificate := words.get("certKey"):
        key_material = attempt(lambda: KeyMaterial.load(certificate, words.get("privateKey", certificate)))
    if policy is None or trust_roots is None or problems:
        raise ConfigurationError(*problems)
    return policy, trust_roots, key_material


def _profile(name: str) -> TLSPolicy:
    """A legacy profile takes a second switch to turn on, and an endpoint string has none."""
    policy = profile(name)
    if policy.is_legacy:
        raise ConfigurationError(
            f"the TLS profile {name} cannot be had by an endpoint string, as it is weaker than RFC 9325 recommends; "
            f"expected {BCP195_RFC9325.name}, or a configuration file that accepts it in words"
        )
    return policy


def _choice(words: Mapping[str, str], word: str, kind: type[E]) -> E | None:
    """What of `kind` the keyword names; None where it is not given."""
    if not words.get(word):
        return None
    try:
        return kind(words[word])
    except ValueError:
        known = [each.value for each in kind]
        raise ValueError(f"dicomtls: has {word}={words[word]}; {did_you_mean(words[word], known)}") from None


def _tcp_endpoint(reactor: Any, port: str, words: Mapping[str, str]) -> IStreamServerEndpoint:
    interface = words.get("interface", "")
    kind = TCP6ServerEndpoint if ":" in interface else TCP4ServerEndpoint
    backlog = _number("backlog", words.get("backlog", "50"), int)
    return kind(reactor, _number("port", port, int), backlog, interface)


def _inner_endpoint(reactor: Any, args: Sequence[str], words: Mapping[str, str]) -> IStreamServerEndpoint:
    """The endpoint that the rest of the string describes, put together again for its own parser."""
    description = ":".join([*map(_quoted, args), *(f"{_quoted(word)}={_quoted(words[word])}" for word in words)])
    try:
        endpoint: IStreamServerEndpoint = serverFromString(reactor, description)
        return endpoint
    except (TypeError, LookupError) as error:
        near = next(filter(None, (nearest(word, _SERVER) for word in words)), None)
        raise ValueError(
            f"dicomtls: cannot listen on {description!r}: {error}; {f'did you mean {near}? ' if near else ''}expected "
            f"the description of a server endpoint, and of {', '.join(_SERVER)} what TLS needs"
        ) from None


def _quoted(text: str) -> str:
    """Escape what the syntax of endpoint strings uses; Twisted's own quoting leaves out the equals sign."""
    return "".join("\\" + character if character in "\\:=" else character for character in text)


def _check(extra: Sequence[str], words: Mapping[str, str], known: Sequence[str], valid: Sequence[str]) -> None:
    if extra:
        raise ValueError(
            f"dicomtls: has no place for {extra[0]!r}; expected keyword=value of {', '.join(valid)}, "
            "and a colon in a value written as \\:"
        )
    for word in words:
        if word not in known:
            raise ValueError(f"dicomtls: has no keyword {word!r}; {did_you_mean(word, valid)}")


def _required(words: Mapping[str, str], word: str, meaning: str) -> str:
    if not words.get(word):
        raise ValueError(f"dicomtls: lacks {word}; expected {word}={meaning}")
    return words[word]


def _number(word: str, text: str, kind: Callable[[str], T]) -> T:
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"dicomtls: has {word}={text}; expected a number") from None

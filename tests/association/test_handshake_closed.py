"""A peer that says goodbye (close_notify) in the middle of a TLS 1.2 handshake: one event, no traceback."""

from twisted.internet.protocol import Factory, Protocol

from dimsetls.association import AcceptorFactory, ApplicationEntity
from dimsetls.association.events import ConnectionFailed, Event
from dimsetls.node.probe.hello import client_hello
from dimsetls.services import ServiceProvider
from dimsetls.testing import DevelopmentAuthority, Link, tls_endpoints

ECDHE_ECDSA_AES128_GCM = 0xC02B
USER_CANCELED_AND_CLOSE_NOTIFY = bytes.fromhex("1503030002015a 15030300020100")


class Observer:
    def __init__(self) -> None:
        self.told: list[Event] = []

    def observe(self, event: Event) -> None:
        self.told.append(event)


def test_a_close_notify_in_the_handshake_is_named_and_is_no_error_of_ours():
    link, observer, calling = Link(), Observer(), Protocol()
    serving, _ = tls_endpoints(link, DevelopmentAuthority())
    serving.listen(AcceptorFactory(ApplicationEntity("A", ServiceProvider()), clock=link, observers=[observer]))
    factory = Factory()
    factory.buildProtocol = lambda address: calling
    link.connect(factory)
    link.pump()
    calling.transport.write(client_hello(bytes(32), [ECDHE_ECDSA_AES128_GCM]))
    link.pump()
    calling.transport.write(USER_CANCELED_AND_CLOSE_NOTIFY)
    link.pump()
    (event,) = observer.told
    assert isinstance(event, ConnectionFailed)
    assert (event.fault.name, event.fault.detail) == ("closed-in-handshake", "closed in the handshake")

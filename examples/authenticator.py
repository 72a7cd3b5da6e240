"""A back end of one's own for user identities: passcodes that are good once, as a help desk hands them out.

    python examples/authenticator.py LISTEN NAME=PASSCODE...
"""

import hmac
import sys

from twisted.internet import defer, endpoints, task
from zope.interface import implementer

from dimsetls.association import AcceptorFactory, ApplicationEntity
from dimsetls.errors import IdentityDenied, IdentityUnknown
from dimsetls.identity.credentials import Method
from dimsetls.identity.gate import Gate, IdentityPolicy, Requirement
from dimsetls.identity.interfaces import IAuthenticator, Verified
from dimsetls.services import ServiceProvider


@implementer(IAuthenticator)
class OnceOnly:
    """The gate has seen to the lock-out, the deadline and the log; a back end says what is true."""

    name = "once only"
    methods = frozenset({Method.PASSCODE})
    cacheable = False  # a passcode that was good is not good again

    def __init__(self, passcodes):
        self._passcodes = dict(passcodes)
        self.trace = lambda sentence: None

    async def verify(self, credential, presenter):
        expected = self._passcodes.get(credential.name)
        if expected is None:
            raise IdentityUnknown(f"[once only] no passcode was handed out to {credential.name}")
        if not hmac.compare_digest(expected, bytes(credential.passcode.reveal())):
            raise IdentityDenied(f"[once only] the passcode of {credential.name} is wrong")
        del self._passcodes[credential.name]
        return Verified(credential.name, "help desk", groups=frozenset({"visitors"}))

    def close(self):
        self._passcodes.clear()


class Greeter(ServiceProvider):
    async def c_echo(self, request):
        print(f"hello, {request.association.principal}", flush=True)
        return await super().c_echo(request)


async def main(reactor, listen, *passcodes):
    once = OnceOnly((name, passcode.encode()) for name, _, passcode in (each.partition("=") for each in passcodes))
    gate = Gate(IdentityPolicy(Requirement.REQUIRE, {Method.PASSCODE: (once,)}), reactor)
    factory = AcceptorFactory(ApplicationEntity("EXAMPLE", Greeter(), gate=gate))
    port = await endpoints.serverFromString(reactor, listen).listen(factory)
    print(f"listens on port {port.getHost().port}", flush=True)
    await defer.Deferred()


task.react(main, sys.argv[1:])

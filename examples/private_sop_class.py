"""A SOP class of one's own: the peer asks by N-ACTION how many seconds the scanner has run. Both sides, in one file.

    python examples/private_sop_class.py serve LISTEN
    python examples/private_sop_class.py ask CALL
"""

import sys

from pydicom import Dataset
from twisted.internet import defer, endpoints, task

from dimsetls.association import AcceptorFactory, ApplicationEntity, association, propose
from dimsetls.errors import ServiceError
from dimsetls.services import ServiceProvider, Status

# Under a root of your own; these are made of UUIDs (PS3.5 B.2).
SCANNER = "2.25.97348957223875624873652876438756243876"
THE_SCANNER = "2.25.97348957223875624873652876438756243877"  # its one, well-known instance
TELL_UPTIME = 1


class Scanner(ServiceProvider):
    abstract_syntaxes = (SCANNER,)

    def __init__(self, clock):
        self._clock, self._since = clock, clock.seconds()

    async def n_action(self, request):
        if request.sop_instance_uid != THE_SCANNER:
            raise ServiceError(Status.NO_SUCH_SOP_INSTANCE, "there is one scanner")
        if request.action_type_id != TELL_UPTIME:
            raise ServiceError(Status.NO_SUCH_ACTION_TYPE, "it tells its uptime, and nothing else")
        reply = Dataset()
        reply.ExposureTimeInms = round(1000 * (self._clock.seconds() - self._since), 3)
        return Status.SUCCESS, reply


async def serve(reactor, listen):
    factory = AcceptorFactory(ApplicationEntity("SCANNER", Scanner(reactor)))
    port = await endpoints.serverFromString(reactor, listen).listen(factory)
    print(f"listens on port {port.getHost().port}", flush=True)
    await defer.Deferred()


async def ask(reactor, call):
    async with association(
        endpoints.clientFromString(reactor, call),
        calling_ae_title="ME", called_ae_title="SCANNER", contexts=[propose(SCANNER)],
    ) as opened:
        _, reply = await opened.n_action(SCANNER, THE_SCANNER, TELL_UPTIME)
        print(f"it has run for {float(reply.ExposureTimeInms) / 1000:.1f} s")


async def main(reactor, what, endpoint):
    await {"serve": serve, "ask": ask}[what](reactor, endpoint)


task.react(main, sys.argv[1:])

"""An SCP that keeps what it is sent, and says who sent it.

    python examples/store_scp.py LISTEN DIRECTORY
"""

import sys

from twisted.internet import defer, endpoints, task

from dimsetls.association import AcceptorFactory, ApplicationEntity
from dimsetls.services import FileStore, Layout, Storage


class Announcing(Storage):
    """A file appears whole or not at all, and is on disk before the peer is told Success."""

    async def c_store(self, request):
        status = await super().c_store(request)
        parties = request.association.parties
        print(f"{parties.calling_ae_title} stored {request.sop_instance_uid}", flush=True)
        return status


async def main(reactor, listen, directory):
    store = FileStore(directory, layout=Layout("{StudyInstanceUID}/{SOPInstanceUID}.dcm"))
    store.open()
    factory = AcceptorFactory(ApplicationEntity("EXAMPLE", Announcing(store)))
    port = await endpoints.serverFromString(reactor, listen).listen(factory)
    print(f"listens on port {port.getHost().port}", flush=True)
    await defer.Deferred()


task.react(main, sys.argv[1:])

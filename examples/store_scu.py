"""An SCU that sends files as they are, and converts those that the peer does not take in their transfer syntax.

    python examples/store_scu.py CALL AE-TITLE FILE...
"""

import sys

from twisted.internet import endpoints, task

from dimsetls.association import Instance, association, propose_for
from dimsetls.errors import InstanceError, OperationFailed


async def main(reactor, call, called, *files):
    instances = [Instance.of(file, convert=True) for file in files]
    async with association(
        endpoints.clientFromString(reactor, call),
        calling_ae_title="ME", called_ae_title=called, contexts=propose_for(instances),
    ) as opened:
        for file, instance in zip(files, instances, strict=True):
            try:
                await opened.store(instance)
            except (InstanceError, OperationFailed) as error:  # this one; the association goes on
                print(f"{file}: {error}")
            else:
                print(f"{file}: stored")


task.react(main, sys.argv[1:])

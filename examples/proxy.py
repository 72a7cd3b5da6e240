"""A proxy that stores nothing: each instance goes on to another node while it arrives, and its answer comes back.

    python examples/proxy.py LISTEN CALL AE-TITLE
"""

import sys

from twisted.internet import defer, endpoints, task

from dimsetls.association import AcceptorFactory, ApplicationEntity, Instance, associate, propose
from dimsetls.errors import AssociationError, InstanceError, OperationFailed, ServiceError
from dimsetls.services import ServiceProvider, Status, storage_sop_classes
from dimsetls.services.storage import all_transfer_syntaxes


class Proxy(ServiceProvider):
    """One association there for each instance here; a busy proxy keeps them in a pool."""

    abstract_syntaxes = storage_sop_classes()
    transfer_syntaxes = all_transfer_syntaxes()

    def __init__(self, endpoint, called):
        self._endpoint, self._called = endpoint, called

    async def c_store(self, request):
        # `request.data` is an async iterator of pieces: the sender waits whenever the receiver does.
        instance = Instance(request.sop_class_uid, request.sop_instance_uid, request.transfer_syntax, request.data)
        try:
            async with await associate(
                self._endpoint,
                calling_ae_title="PROXY", called_ae_title=self._called,
                contexts=[propose(request.sop_class_uid, request.transfer_syntax)],
            ) as there:
                response = await there.store(instance)
        except OperationFailed as failure:
            raise ServiceError(failure.status, failure.comment) from failure
        except InstanceError as error:
            raise ServiceError(Status.SOP_CLASS_NOT_SUPPORTED, f"{self._called} does not take it") from error
        except AssociationError as error:
            raise ServiceError(Status.OUT_OF_RESOURCES, f"{self._called} cannot be reached") from error
        print(f"{request.sop_instance_uid} went on to {self._called}", flush=True)
        return response.status


async def main(reactor, listen, call, called):
    there = endpoints.clientFromString(reactor, call)
    factory = AcceptorFactory(ApplicationEntity("PROXY", Proxy(there, called)))
    port = await endpoints.serverFromString(reactor, listen).listen(factory)
    print(f"listens on port {port.getHost().port}", flush=True)
    await defer.Deferred()


task.react(main, sys.argv[1:])

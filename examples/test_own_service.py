"""The test of a service of one's own, with TLS but without sockets and waiting: `dimsetls.testing`.

    pytest examples/test_own_service.py
"""

from pydicom import Dataset
from pydicom.uid import CTImageStorage, generate_uid
from twisted.internet.defer import Deferred

from dimsetls.association import AcceptorFactory, ApplicationEntity, association, propose
from dimsetls.errors import OperationFailed, ProviderAborted, ServiceError
from dimsetls.services import ServiceProvider, Status
from dimsetls.testing import DevelopmentAuthority, Link, tamper, tls_endpoints


class AdultsOnly(ServiceProvider):
    """The service that is tested: it refuses images of patients who are younger than 18."""

    abstract_syntaxes = (CTImageStorage,)

    async def c_store(self, request):
        dataset = await request.dataset()
        if int(dataset.PatientAge[:3]) < 18:
            raise ServiceError(Status.DATA_SET_DOES_NOT_MATCH_SOP_CLASS, "this is for adults")
        return Status.SUCCESS


def image(age):
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.PatientAge = CTImageStorage, generate_uid(), age
    return dataset


def send(dataset, disturb=bytes):
    """What comes of sending a data set; `disturb` is what the network does to it on its way."""
    link, came = Link(), []
    serving, calling = tls_endpoints(link, DevelopmentAuthority())
    serving.listen(AcceptorFactory(ApplicationEntity("ADULTS", AdultsOnly()), clock=link))

    async def call():
        async with association(
            calling, calling_ae_title="ME", called_ae_title="ADULTS", contexts=[propose(CTImageStorage)], clock=link,
        ) as opened:
            link.ends[0].on_the_way = disturb
            return await opened.store(dataset)

    Deferred.fromCoroutine(call()).addBoth(came.append)
    link.pump()  # nothing moves before
    return came[0]


def test_an_adult_is_taken():
    assert send(image("042Y")).status == Status.SUCCESS


def test_a_child_is_refused():
    failure = send(image("007Y")).value
    assert isinstance(failure, OperationFailed)
    assert failure.comment == "this is for adults"


def test_what_the_network_altered_never_arrives():
    failure = send(image("042Y"), tamper).value
    assert isinstance(failure, ProviderAborted)
    assert "bad_record_mac" in failure.detail

from __future__ import annotations

from typing import Any

import pytest
from zope.interface.verify import verifyObject

from dimsetls.association.interfaces import IServiceProvider
from dimsetls.association.requests import EchoRequest, StoreRequest
from dimsetls.dimse.status import Status
from dimsetls.services.provider import ServiceProvider, Services
from dimsetls.services.verification import Verification
from dimsetls.uids import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, VERIFICATION
from dimsetls.ul.negotiation import Support
from dimsetls.ul.pdus import CommonExtendedNegotiation, ExtendedNegotiation

from ..association.stage import CT, MR, Stage, context, echo, request, responses, statuses, store


class Keeping(ServiceProvider):
    """Serves one abstract syntax; keeps what comes, and answers to extended negotiation with its name."""

    def __init__(self, abstract_syntax: str) -> None:
        self.abstract_syntaxes = (abstract_syntax,)
        self.kept: list[bytes] = []
        self.commons: list[CommonExtendedNegotiation | None] = []

    def support(self, abstract_syntax: str, common: CommonExtendedNegotiation | None) -> Support | None:
        self.commons.append(common)
        return super().support(abstract_syntax, common)

    def extended(self, item: ExtendedNegotiation) -> bytes | None:
        return b"kept" if item.sop_class_uid in self.abstract_syntaxes else None

    async def c_store(self, request: StoreRequest) -> int:
        self.kept.append(await request.data.read())
        return Status.SUCCESS


@pytest.mark.parametrize("provider", [ServiceProvider(), Verification(), Services(), Services(Keeping(CT))])
def test_each_is_what_the_interface_promises(provider):
    assert verifyObject(IServiceProvider, provider)


@pytest.mark.parametrize("provider", [ServiceProvider(), Verification(), Keeping(CT), Services(Keeping(CT))])
def test_verification_is_always_served(provider):
    assert statuses(Stage(provider).associated().send(echo(7))) == [(7, 0)]


def test_a_class_with_a_handler_is_a_service():
    class Counting(ServiceProvider):
        abstract_syntaxes = (CT,)
        octets = 0

        async def c_store(self, request: StoreRequest) -> int:
            async for piece in request.data:
                self.octets += len(piece)
            return Status.SUCCESS

    counting = Counting()
    assert statuses(Stage(counting).associated().send(store(bytes(100_000)))) == [(1, 0)]
    assert counting.octets == 100_000


def test_a_provider_that_offers_storage_without_a_handler_refuses():
    class Promising(ServiceProvider):
        abstract_syntaxes = (CT,)

    [response] = responses(Stage(Promising()).associated().send(store(b"data")))
    assert (response.status, response.error_comment) == (Status.SOP_CLASS_NOT_SUPPORTED, "this AE does not store")


def test_its_transfer_syntaxes_are_supported_in_its_order():
    provider = Keeping(CT)
    assert provider.support(CT, None) == Support((EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN))
    provider.transfer_syntaxes = [IMPLICIT_VR_LITTLE_ENDIAN]
    assert provider.support(VERIFICATION, None) == Support((IMPLICIT_VR_LITTLE_ENDIAN,))
    assert provider.support(MR, None) is None


def test_of_several_services_the_first_that_supports_an_abstract_syntax_has_it():
    first, second, third = Keeping(CT), Keeping(MR), Keeping(CT)
    stage = Stage(Services(first, second, third))
    peer = stage.associated(context(1, MR), context(3, CT))
    peer.send(store(b"ct"), store(b"mr", 2, 1, sop_class=MR))
    assert (first.kept, second.kept, third.kept) == ([b"ct"], [b"mr"], [])


def test_of_several_services_the_first_that_answers_to_extended_negotiation_answers():
    services = Services(Keeping(CT), Keeping(MR))
    items = (ExtendedNegotiation(MR, b"?"), ExtendedNegotiation("1.2.3", b"?"))
    [answer] = Stage(services).peer().send(request(CT, MR, extended_negotiations=items))
    assert answer.user_information.extended_negotiations == (ExtendedNegotiation(MR, b"kept"),)


def test_common_extended_negotiation_reaches_each_service():
    keeping = Keeping(CT)
    common = CommonExtendedNegotiation(CT, "1.2.840.10008.4.2")
    Stage(Services(keeping)).peer().send(request(CT, common_extended_negotiations=(common,)))
    assert keeping.commons == [common]


def test_no_service_at_all_supports_nothing():
    [answer] = Stage(Services()).peer().send(request(VERIFICATION, CT))
    assert [each.result for each in answer.presentation_contexts] == [3, 3]


class Related(ServiceProvider):
    """Serves whatever says that it is related to CT, which nobody knows without the 57H item."""

    def support(self, abstract_syntax: str, common: CommonExtendedNegotiation | None) -> Support | None:
        related = common is not None and CT in common.related_general_sop_class_uids
        return Support(tuple(self.transfer_syntaxes)) if related else None

    async def c_store(self, request: StoreRequest) -> int:
        await request.data.read()
        return Status.SUCCESS


@pytest.mark.parametrize("services", [Related(), Services(Related()), Services(Keeping(MR), Related())])
def test_a_class_that_is_supported_for_its_common_extended_negotiation_is_also_performed(services: Any):
    common = CommonExtendedNegotiation("1.2.3.4", "1.2.840.10008.4.2", (CT,))
    peer = Stage(services).associated(context(3, "1.2.3.4"), common_extended_negotiations=(common,))
    assert statuses(peer.send(store(b"data", sop_class="1.2.3.4"))) == [(1, 0)]


def test_an_echo_may_have_a_handler_of_its_own():
    class Tired(ServiceProvider):
        async def c_echo(self, request: EchoRequest) -> int:
            return Status.PROCESSING_FAILURE

    assert statuses(Stage(Tired()).associated().send(echo())) == [(1, 0x0110)]

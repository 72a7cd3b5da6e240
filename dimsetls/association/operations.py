"""The operations that can be invoked on an association, as typed coroutines and async iterators (PS3.7 §9, §10)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

from twisted.internet.threads import deferToThread

from ..codes import Priority, ProviderReason
from ..dimse.command import write_command
from ..dimse.messages import (
    CCancelRQ,
    CEchoRQ,
    CFindRQ,
    CGetRQ,
    CMoveRQ,
    CStoreRQ,
    CStoreRSP,
    RequestMessage,
    ResponseMessage,
)
from ..dimse.normalized import (
    NActionRQ,
    NActionRSP,
    NCreateRQ,
    NCreateRSP,
    NDeleteRQ,
    NDeleteRSP,
    NEventReportRQ,
    NEventReportRSP,
    NGetRQ,
    NGetRSP,
    NSetRQ,
    NSetRSP,
)
from ..errors import DimsetlsError, InstanceError, LocalProtocolError, ProviderAborted
from ..uids import VERIFICATION
from ..ul.negotiation import AcceptedContext
from .datasets import UnreadableDataSet, decode, encode
from .events import Parties
from .instances import NATIVE, Instance
from .invoking import Invocation, InvokingUser, StoreHandler
from .outbox import DataSet, Outbox
from .responses import Matches, Retrieval, raise_failure

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from .instances import Sendable

_Response = TypeVar("_Response", bound=ResponseMessage)


class Operations:
    """What either side of an association can invoke, where its role in a presentation context permits it.

    Operations are sent in the order in which they are called; what is beyond the negotiated window waits its turn.
    Each returns the response if it is a success or a warning, and raises `OperationFailed` for a failure, or the
    `AssociationError` that ended the association. SOP classes are named by their UIDs.
    """

    parties: Parties
    contexts: Mapping[int, AcceptedContext]
    _invoking: InvokingUser
    _outbox: Outbox
    _is_requestor: bool

    def violated(self, error: DimsetlsError) -> None:
        raise NotImplementedError

    def check_usable(self) -> None:
        raise NotImplementedError

    # DIMSE-C -------------------------------------------------------------------------------------------------------

    async def echo(self) -> int:
        """C-ECHO; the status of the answer, which is Success."""
        message = CEchoRQ(self.new_message_id(), VERIFICATION)
        response, _ = await self._final(self._invoke(self.context(VERIFICATION), message))
        return response.status

    async def store(
        self,
        what: Sendable,
        *,
        convert: bool = False,
        priority: int = Priority.MEDIUM,
        originator: tuple[str, int] | None = None,
        sent: Callable[[int], object] | None = None,
    ) -> CStoreRSP:
        """C-STORE of a DICOM file by its path, open, or as bytes; of a Dataset; or of an `Instance` from anywhere.

        A file is streamed as it is. With `convert` pydicom converts it where the peer did not accept its transfer
        syntax. `originator` is the AE title and Message ID of a C-MOVE that this is a part of. `sent` is told the
        octets of the data set as they go out. Raises `InstanceError` where it cannot be sent.
        """
        instance = Instance.of(what, convert=convert)
        context = self.context_for(instance)
        self.check_usable()
        if context.transfer_syntax != instance.transfer_syntax:
            instance = await deferToThread(instance.converted, context.transfer_syntax)
        title, number = originator or (None, None)
        message = CStoreRQ(
            self.new_message_id(), instance.sop_class_uid, instance.sop_instance_uid, priority, title, number
        )
        response, _ = await self._final(self._invoke(context, message, instance, sent=sent))
        return cast(CStoreRSP, response)

    def find(self, sop_class_uid: str, identifier: Dataset | bytes, *, priority: int = Priority.MEDIUM) -> Matches:
        """C-FIND; iterate over the matches, which are Datasets: ``async for match in association.find(…)``."""
        context = self.context(sop_class_uid)
        message = CFindRQ(self.new_message_id(), sop_class_uid, priority)
        return Matches(self, self._invoke(context, message, _encoded(identifier, context)))

    def get(
        self,
        sop_class_uid: str,
        identifier: Dataset | bytes,
        *,
        store: StoreHandler | None = None,
        priority: int = Priority.MEDIUM,
    ) -> Retrieval:
        """C-GET; await it, or iterate over the pending responses for progress.

        The instances come on this association and go to `store`, a handler as of C-STORE, or to the `services` of the
        association. The role of SCP must have been agreed on for their SOP classes.
        """
        context = self.context(sop_class_uid)
        message = CGetRQ(self.new_message_id(), sop_class_uid, priority)
        return Retrieval(self, self._invoke(context, message, _encoded(identifier, context), store))

    def move(
        self, sop_class_uid: str, identifier: Dataset | bytes, destination: str, *, priority: int = Priority.MEDIUM
    ) -> Retrieval:
        """C-MOVE to the AE `destination`; await it, or iterate over the pending responses for progress."""
        context = self.context(sop_class_uid)
        message = CMoveRQ(self.new_message_id(), sop_class_uid, destination, priority)
        return Retrieval(self, self._invoke(context, message, _encoded(identifier, context)))

    # DIMSE-N. `abstract_syntax` is that of the context, where it is for a Meta SOP Class. ----------------------------

    async def n_event_report(
        self, sop_class_uid: str, sop_instance_uid: str, event_type_id: int,
        information: Dataset | bytes | None = None, *, abstract_syntax: str | None = None,
    ) -> tuple[NEventReportRSP, Dataset | None]:  # fmt: skip
        """N-EVENT-REPORT, which is for the SCP to invoke; the response and the event reply."""
        context = self.context(abstract_syntax or sop_class_uid, as_scp=True)
        message = NEventReportRQ(self.new_message_id(), sop_class_uid, sop_instance_uid, event_type_id)
        return await self._normalized(NEventReportRSP, context, message, information)

    async def n_get(
        self, sop_class_uid: str, sop_instance_uid: str, attributes: Iterable[int] = (),
        *, abstract_syntax: str | None = None,
    ) -> tuple[NGetRSP, Dataset | None]:  # fmt: skip
        """N-GET of attributes by their tags, or of all; the response and the attribute list."""
        context = self.context(abstract_syntax or sop_class_uid)
        message = NGetRQ(self.new_message_id(), sop_class_uid, sop_instance_uid, tuple(map(int, attributes)))
        return await self._normalized(NGetRSP, context, message, None)

    async def n_set(
        self, sop_class_uid: str, sop_instance_uid: str, modifications: Dataset, *, abstract_syntax: str | None = None
    ) -> tuple[NSetRSP, Dataset | None]:
        """N-SET; the response and the attribute list."""
        context = self.context(abstract_syntax or sop_class_uid)
        message = NSetRQ(self.new_message_id(), sop_class_uid, sop_instance_uid)
        return await self._normalized(NSetRSP, context, message, modifications)

    async def n_action(
        self, sop_class_uid: str, sop_instance_uid: str, action_type_id: int,
        information: Dataset | bytes | None = None, *, abstract_syntax: str | None = None,
    ) -> tuple[NActionRSP, Dataset | None]:  # fmt: skip
        """N-ACTION; the response and the action reply."""
        context = self.context(abstract_syntax or sop_class_uid)
        message = NActionRQ(self.new_message_id(), sop_class_uid, sop_instance_uid, action_type_id)
        return await self._normalized(NActionRSP, context, message, information)

    async def n_create(
        self, sop_class_uid: str, sop_instance_uid: str | None = None, attributes: Dataset | None = None,
        *, abstract_syntax: str | None = None,
    ) -> tuple[NCreateRSP, Dataset | None]:  # fmt: skip
        """N-CREATE; the response, which names the instance if we did not, and the attribute list."""
        context = self.context(abstract_syntax or sop_class_uid)
        message = NCreateRQ(self.new_message_id(), sop_class_uid, sop_instance_uid)
        return await self._normalized(NCreateRSP, context, message, attributes)

    async def n_delete(
        self, sop_class_uid: str, sop_instance_uid: str, *, abstract_syntax: str | None = None
    ) -> NDeleteRSP:
        """N-DELETE."""
        context = self.context(abstract_syntax or sop_class_uid)
        message = NDeleteRQ(self.new_message_id(), sop_class_uid, sop_instance_uid)
        response, _ = await self._normalized(NDeleteRSP, context, message, None)
        return response

    # Contexts ------------------------------------------------------------------------------------------------------

    def context(
        self, abstract_syntax: str, transfer_syntax: str | None = None, *, as_scp: bool = False
    ) -> AcceptedContext:
        """An accepted context in which we are the SCU, or the SCP. Raises `LocalProtocolError` if there is none."""
        usable = self._usable(abstract_syntax, as_scp)
        for context in usable:
            if transfer_syntax in (None, context.transfer_syntax):
                return context
        from pydicom.uid import UID

        role = "" if not self._accepted(abstract_syntax) or usable else f" with us as {'SCP' if as_scp else 'SCU'}"
        known = "" if (name := UID(abstract_syntax).name) == abstract_syntax else f" ({name})"
        raise LocalProtocolError(f"{self._peer} accepted no presentation context for {abstract_syntax}{known}{role}")

    def context_for(self, instance: Instance) -> AcceptedContext:
        """The accepted context in which an instance can be sent. Raises `InstanceError` if there is none."""
        usable = {context.transfer_syntax: context for context in self._usable(instance.sop_class_uid, False)}
        wanted = (instance.transfer_syntax, *(NATIVE if instance.convert else ()))
        for transfer_syntax in wanted:
            if transfer_syntax in usable:
                return usable[transfer_syntax]
        what = f"{instance.sop_instance_uid} of SOP class {instance.sop_class_uid}"
        if not usable:
            raise InstanceError(f"{what} cannot be sent: {self._peer} accepted no presentation context for it")
        hint = "" if instance.convert else "; to convert it, ask for convert"
        raise InstanceError(
            f"{what} is in transfer syntax {instance.transfer_syntax}, {self._peer} accepted {', '.join(usable)}{hint}"
        )

    def _accepted(self, abstract_syntax: str) -> list[AcceptedContext]:
        return [context for context in self.contexts.values() if context.abstract_syntax == abstract_syntax]

    def _usable(self, abstract_syntax: str, as_scp: bool) -> list[AcceptedContext]:
        is_requestors = self._is_requestor is not as_scp  # whether it is the requestor's role of SCU that counts
        return [context for context in self._accepted(abstract_syntax)
                if (context.requestor_is_scu if is_requestors else context.requestor_is_scp)]  # fmt: skip

    @property
    def _peer(self) -> str:
        return self.parties.called_ae_title if self._is_requestor else self.parties.calling_ae_title

    # What they are made of -----------------------------------------------------------------------------------------

    @property
    def window(self) -> int:
        """How many operations of ours may be outstanding; 0 is no bound."""
        return self._invoking.window

    def new_message_id(self) -> int:
        """A Message ID that no outstanding request of ours has."""
        return self._invoking.new_message_id()

    def _invoke(
        self,
        context: AcceptedContext,
        message: RequestMessage,
        data: bytes | DataSet | None = None,
        store: StoreHandler | None = None,
        sent: Callable[[int], object] | None = None,
    ) -> Invocation:
        self.check_usable()
        return self._invoking.invoke(context, message, data, store, sent)

    async def _final(self, invocation: Invocation) -> tuple[ResponseMessage, bytes]:
        try:
            received = await invocation.next()
        except BaseException:
            invocation.ignore()  # where the caller gave up; an answer that still comes is let pass
            raise
        assert received is not None  # it is the first
        response, data = received
        raise_failure(invocation.message, response)
        return response, data

    async def _normalized(
        self, kind: type[_Response], context: AcceptedContext, message: RequestMessage,
        dataset: Dataset | bytes | None,
    ) -> tuple[_Response, Dataset | None]:  # fmt: skip
        data = None if dataset is None else _encoded(dataset, context)
        invocation = self._invoke(context, message, data)
        response, answered = await self._final(invocation)
        return cast(_Response, response), self.decoded(invocation, answered) if answered else None

    def decoded(self, invocation: Invocation, data: bytes) -> Dataset:
        """The data set of a response. What cannot be read ends the association, and is raised as what ended it."""
        try:
            return decode(data, invocation.context.transfer_syntax)
        except UnreadableDataSet as error:
            name = invocation.message.RESPONSE.COMMAND_FIELD.name.replace("_", "-")
            sentence = f"the data set of {name} cannot be read: {error}"
            violation = ProviderAborted(ProviderReason.INVALID_PDU_PARAMETER_VALUE, sentence)
            self.violated(violation)
            raise violation from error

    async def cancel(self, invocation: Invocation) -> None:
        """Send C-CANCEL for an operation that is under way, and forget one that is not."""
        if invocation.is_final or invocation.error is not None or self._invoking.withdraw(invocation):
            return
        command = write_command(CCancelRQ(invocation.message.message_id).command())
        await self._outbox.send(invocation.context.context_id, command, is_paced=True)


def _encoded(dataset: Dataset | bytes, context: AcceptedContext) -> bytes:
    """A data set to send, as bytes; those that are given are in the transfer syntax of the context."""
    return dataset if isinstance(dataset, bytes) else encode(cast(Any, dataset), context.transfer_syntax)

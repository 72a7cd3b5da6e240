"""Responses that say a status and no more, as nearly all do: written around their Message ID, without a message."""

from __future__ import annotations

from functools import lru_cache

from .command import NO_DATA_SET, Element, with_group_length, write_element
from .messages import RequestMessage

_INSTANCE, _RESPONDED_TO = Element.AFFECTED_SOP_INSTANCE_UID, Element.MESSAGE_ID_BEING_RESPONDED_TO


def write_plain_response(request: RequestMessage, status: int) -> bytes:
    """The command set of the response to a C-ECHO-RQ or C-STORE-RQ, as `write_command` has it; `status` has 16 bits."""
    before, after = _around_message_id(request.RESPONSE.COMMAND_FIELD, request.sop_class_uid, status)
    message_id = write_element(_RESPONDED_TO, request.message_id)
    instance = request.sop_instance_uid
    if instance is None:
        return with_group_length(before, message_id, after)
    return with_group_length(before, message_id, after, write_element(_INSTANCE, instance))


@lru_cache(256)
def _around_message_id(command_field: int, sop_class_uid: str, status: int) -> tuple[bytes, bytes]:
    """What stands before and after it, and is the same for every instance of a series."""
    before = write_element(Element.AFFECTED_SOP_CLASS_UID, sop_class_uid)
    before += write_element(Element.COMMAND_FIELD, command_field)
    after = write_element(Element.COMMAND_DATA_SET_TYPE, NO_DATA_SET)
    return before, after + write_element(Element.STATUS, status)

"""Responses that say a status and no more, as nearly all do: written around their Message ID, without a message."""

from __future__ import annotations

from functools import lru_cache
from struct import Struct

from .command import NO_DATA_SET, Element, write_element
from .messages import CEchoRQ, CStoreRQ

_INSTANCE, _RESPONDED_TO = Element.AFFECTED_SOP_INSTANCE_UID, int(Element.MESSAGE_ID_BEING_RESPONDED_TO)
_GROUP_LENGTH = Struct("<HHII").pack
_MESSAGE_ID = Struct("<HHIH")
_write_message_id, _SIZE = _MESSAGE_ID.pack, _MESSAGE_ID.size


def write_plain_response(request: CEchoRQ | CStoreRQ, status: int) -> bytes:
    """The command set of the response, as `write_command` has it; `status` has 16 bits."""
    before, after = _around_message_id(request.RESPONSE.COMMAND_FIELD, request.affected_sop_class_uid, status)
    if isinstance(request, CStoreRQ):
        after += write_element(_INSTANCE, request.affected_sop_instance_uid)
    message_id = _write_message_id(0, _RESPONDED_TO, 2, request.message_id)
    return _GROUP_LENGTH(0, 0, 4, len(before) + _SIZE + len(after)) + before + message_id + after


@lru_cache(256)
def _around_message_id(command_field: int, sop_class_uid: str, status: int) -> tuple[bytes, bytes]:
    """What stands before and after it, and is the same for every instance of a series."""
    before = write_element(Element.AFFECTED_SOP_CLASS_UID, sop_class_uid)
    before += write_element(Element.COMMAND_FIELD, command_field)
    after = write_element(Element.COMMAND_DATA_SET_TYPE, NO_DATA_SET)
    return before, after + write_element(Element.STATUS, status)

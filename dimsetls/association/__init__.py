"""The only room with a transport, a timer or a reactor: it performs what the upper layer decides."""

from typing import TYPE_CHECKING

from ..exports import exports

if TYPE_CHECKING:
    from .acceptor import AcceptorFactory
    from .admission import ApplicationEntity, Caller, Refusal
    from .back_off import BackOff
    from .instances import Instance, propose_for
    from .interfaces import IAssociationObserver, IServiceProvider
    from .limits import Limits
    from .outcomes import Move
    from .pool import AssociationPool
    from .protocol import Timeouts
    from .remote import IdentitySource, Remote
    from .requested import ContextAnswer, RequestedAssociation
    from .requestor import as_scp, associate, association, propose
    from .requests import (
        ActionRequest,
        CreateRequest,
        DeleteRequest,
        EchoRequest,
        EventReportRequest,
        FindRequest,
        GetAttributesRequest,
        GetRequest,
        MoveRequest,
        SetAttributesRequest,
        StoreRequest,
    )
    from .responses import Matches, Retrieval, Retrieved
    from .sending import Sending, Stored
    from .session import Association
else:
    __getattr__ = exports(__name__, {
        "acceptor": "AcceptorFactory",
        "admission": "ApplicationEntity Caller Refusal",
        "back_off": "BackOff",
        "instances": "Instance propose_for",
        "interfaces": "IAssociationObserver IServiceProvider",
        "limits": "Limits",
        "outcomes": "Move",
        "pool": "AssociationPool",
        "protocol": "Timeouts",
        "remote": "IdentitySource Remote",
        "requested": "ContextAnswer RequestedAssociation",
        "requestor": "as_scp associate association propose",
        "requests": (
            "ActionRequest CreateRequest DeleteRequest EchoRequest EventReportRequest FindRequest "
            "GetAttributesRequest GetRequest MoveRequest SetAttributesRequest StoreRequest"
        ),
        "responses": "Matches Retrieval Retrieved",
        "sending": "Sending Stored",
        "session": "Association",
    })

__all__ = [
    "AcceptorFactory",
    "ActionRequest",
    "ApplicationEntity",
    "Association",
    "AssociationPool",
    "BackOff",
    "Caller",
    "ContextAnswer",
    "CreateRequest",
    "DeleteRequest",
    "EchoRequest",
    "EventReportRequest",
    "FindRequest",
    "GetAttributesRequest",
    "GetRequest",
    "IAssociationObserver",
    "IServiceProvider",
    "IdentitySource",
    "Instance",
    "Limits",
    "Matches",
    "Move",
    "MoveRequest",
    "Refusal",
    "Remote",
    "RequestedAssociation",
    "Retrieval",
    "Retrieved",
    "Sending",
    "SetAttributesRequest",
    "StoreRequest",
    "Stored",
    "Timeouts",
    "as_scp",
    "associate",
    "association",
    "propose",
    "propose_for",
]

"""The only room with a transport, a timer or a reactor: it performs what the upper layer decides."""

from .acceptor import AcceptorFactory
from .admission import ApplicationEntity, Caller, Refusal
from .instances import Instance, propose_for
from .interfaces import IAssociationObserver, IServiceProvider
from .limits import Limits
from .outcomes import Move
from .protocol import Timeouts
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
from .session import Association

__all__ = [
    "AcceptorFactory",
    "ActionRequest",
    "ApplicationEntity",
    "Association",
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
    "Instance",
    "Limits",
    "Matches",
    "Move",
    "MoveRequest",
    "Refusal",
    "RequestedAssociation",
    "Retrieval",
    "Retrieved",
    "SetAttributesRequest",
    "StoreRequest",
    "Timeouts",
    "as_scp",
    "associate",
    "association",
    "propose",
    "propose_for",
]

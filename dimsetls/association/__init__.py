"""The only room with a transport, a timer or a reactor: it performs what the upper layer decides."""

from .acceptor import AcceptorFactory
from .admission import ApplicationEntity, Caller, Refusal
from .interfaces import IAssociationObserver, IServiceProvider
from .limits import Limits
from .protocol import Timeouts
from .requestor import associate, propose
from .requests import EchoRequest, StoreRequest
from .session import Association

__all__ = [
    "AcceptorFactory",
    "ApplicationEntity",
    "Association",
    "Caller",
    "EchoRequest",
    "IAssociationObserver",
    "IServiceProvider",
    "Limits",
    "Refusal",
    "StoreRequest",
    "Timeouts",
    "associate",
    "propose",
]

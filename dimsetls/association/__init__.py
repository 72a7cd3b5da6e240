"""The only room with a transport, a timer or a reactor: it performs what the upper layer decides."""

from .acceptor import AcceptorFactory, ApplicationEntity
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
    "EchoRequest",
    "IAssociationObserver",
    "IServiceProvider",
    "Limits",
    "StoreRequest",
    "Timeouts",
    "associate",
    "propose",
]

"""One credential checked as an association would have it checked, each step told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from cryptography import x509
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorCore, IReactorTime
from twisted.python.failure import Failure

from ...association.admission import REJECT, is_ae_title
from ...errors import ConfigurationError, IdentityDenied, IdentityError
from ...identity.activities import Activity
from ...identity.bearer import write_token
from ...identity.cache import Successes
from ...identity.credentials import AccessToken, CertificateAlone, Credential, Requirement, write_identity
from ...identity.gate import Admission
from ...identity.interfaces import Presenter
from ...identity.kerberos.tokens import ChannelBinding
from ...identity.lockout import Lockout
from ...identity.principal import Principal
from ...tls.session import PeerCertificate
from ...uids import IMPLEMENTATION_CLASS_UID
from ...ul.pdus import ExtendedNegotiation, UserInformation
from ..config import AE
from ..prepare import Prepared, prepare
from .build import permit
from .sections import Identity


class Trial:
    """A credential on its way through the gate of one AE. `say` is called with each line."""

    def __init__(
        self, path: str, credential: Credential, *, called: str | None, calling: str, address: str,
        certificate: Path | None, say: Callable[[str], None],
    ) -> None:  # fmt: skip
        if not is_ae_title(calling):
            raise ConfigurationError(f"--calling-ae: found {calling!r}, expected an AE title (PS3.5 §6.2)")
        self._prepared = prepare(path)
        self._credential = credential
        self._ae, identity = _place(self._prepared, called)
        if identity is None:
            raise ConfigurationError(
                f"{path}: [ae {self._ae.title}] identity: found nothing, expected the name of an [identity] section; "
                "without one every user identity is ignored"
            )
        self._identity: Identity = identity
        self._presenter = Presenter(address, calling, self._ae.title, _certificate(certificate))
        self._say = say
        self._succeeded = False

    def run(self) -> bool:
        """Whether the association would be accepted."""
        from twisted.internet import reactor

        core: Any = IReactorCore(reactor)
        core.callWhenRunning(lambda: self._check(IReactorTime(reactor)).addBoth(lambda _: core.stop()))
        core.run()
        return self._succeeded

    def _check(self, clock: IReactorTime) -> Deferred[None]:
        import time

        for name, back_end in self._prepared.identity.authenticators.items():
            back_end.trace = partial(self._step, name)
        gate = self._prepared.identity.gate(
            self._identity, {}, clock, Lockout(clock.seconds), Successes(time.time)
        )
        for line in self._beginning():
            self._say(line)
        if obstacle := self._obstacle():
            self._say(obstacle)
            return succeed(None).addBoth(self._close)
        information = UserInformation(
            0, IMPLEMENTATION_CLASS_UID, user_identity=self._item(), extended_negotiations=self._carrier()
        )
        checked = gate.check(information, self._presenter).addCallbacks(self._accepted, self._refused)
        return checked.addBoth(self._close)

    def _step(self, name: str, step: str) -> None:
        self._say(f"  [{name}] {step.removeprefix(f'[{name}] ')}")

    def _item(self) -> Any:
        if isinstance(self._credential, AccessToken | CertificateAlone):
            return None
        return write_identity(self._credential, True)

    def _carrier(self) -> tuple[ExtendedNegotiation, ...]:
        return (write_token(self._credential, True),) if isinstance(self._credential, AccessToken) else ()

    def _beginning(self) -> Iterator[str]:
        method = self._credential.method
        asked = self._identity.back_ends.get(method, ())
        yield f"AE {self._ae.title}: [identity {self._identity.name}], policy {self._identity.policy.value}"
        if self._identity.policy is Requirement.IGNORE:
            yield "no identity is looked at"
        elif asked:
            yield f"{method.value} is checked by {', then '.join(f'[{back_end}]' for back_end in asked)}"
        else:
            yield f"{method.value} is not configured: there is nobody to ask"

    def _obstacle(self) -> str:
        """Why an association can fare otherwise than the credential here; empty if it cannot."""
        asked = self._identity.back_ends.get(self._credential.method, ())
        for back_end in asked if self._identity.policy is not Requirement.IGNORE else ():
            if back_end.options.get("channel_binding") is ChannelBinding.REQUIRED:
                return (f"not tried, and the token is not used up: [{back_end}] has channel-binding = required, and "
                        "there is no TLS connection here that a token could be bound to; open an association to try it")
        return ""

    def _accepted(self, admission: Admission) -> None:
        self._succeeded = True
        principal = admission.principal
        if principal is None:
            self._say(f"accepted, without a user: {admission.note or 'nothing was presented'}")
        else:
            self._say(f"accepted: {principal}")
            for what, names in (("groups", principal.groups), ("roles", principal.roles), ("scopes", principal.scopes)):
                if names is not None:
                    self._say(f"  {what}: {', '.join(sorted(names)) or 'none'}")
            self._say(f"  until: {f'{principal.until:%Y-%m-%d %H:%M:%S} UTC' if principal.until else 'no term'}")
        if admission.response is not None:
            self._say(f"the peer is answered sub-item 59H with {len(admission.response.server_response)} octets")
        if admission.extended is not None:
            self._say(f"the peer is answered result {admission.extended.service_class_application_information[1]} "
                      "in sub-item 56H")
        for line in self._permissions(principal):
            self._say(line)

    def _permissions(self, principal: Principal | None) -> Iterator[str]:
        if self._ae.rules is None:
            yield f"AE {self._ae.title} has no rules: whoever is admitted may do everything"
            return
        for rule in self._ae.rules:
            permitted = permit(rule)
            for activity in rule.may:
                uid = rule.sop_classes[0] if rule.sop_classes else ""
                what = f"{activity.value} of {', '.join(rule.sop_classes)}" if rule.sop_classes else activity.value
                if obstacle := permitted.obstacle(principal, self._presenter, activity, uid):
                    yield f"[rule {rule.name}] does not permit {what}: it {obstacle}"
                else:
                    view = permitted.sees.for_user(principal.name if principal else None)
                    of_it = f", and shows {view}" if activity in (Activity.QUERY, Activity.RETRIEVE) else ""
                    yield f"[rule {rule.name}] permits {what}{of_it}"

    def _refused(self, failure: Failure) -> None:
        failure.trap(IdentityError)
        is_denied = isinstance(failure.value, IdentityDenied)
        result, source, reason = REJECT["user identity" if is_denied else "temporary congestion"]
        self._say(f"refused: {failure.getErrorMessage()}")
        self._say(f"the peer is answered A-ASSOCIATE-RJ ({result},{source},{reason}) and learns nothing more")

    def _close(self, result: object) -> None:
        self._prepared.identity.close()
        if isinstance(result, Failure):
            self._say(f"not checked: {type(result.value).__name__}; please report this")


def _place(prepared: Prepared, called: str | None) -> tuple[AE, Identity | None]:
    """The AE of that title, or the first, and what is made of identities there."""
    found = [(ae, ae.identity or listener.identity) for listener in prepared.config.listeners for ae in listener.aes]
    if called is None:
        return found[0]
    for ae, identity in found:
        if ae.title == called:
            return ae, identity
    titles = ", ".join(ae.title for ae, _ in found)
    raise ConfigurationError(f"--ae: found {called!r}, expected one of {titles}")


def _certificate(path: Path | None) -> PeerCertificate | None:
    if path is None:
        return None
    try:
        return PeerCertificate.of(x509.load_pem_x509_certificate(path.read_bytes()))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "no certificate in it"
        raise ConfigurationError(f"{path}: found {reason}, expected a certificate in PEM") from None

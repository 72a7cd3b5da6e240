"""An SCU that asks an archive whether it keeps an instance, and says what it is told.

    python examples/commitment.py CALL AE-TITLE SOP-CLASS-UID SOP-INSTANCE-UID
"""

import sys

from twisted.internet import endpoints, task

from dimsetls.association import association, propose
from dimsetls.services import CommitmentUser
from dimsetls.services.commitment import Reference
from dimsetls.uids import STORAGE_COMMITMENT


async def main(reactor, call, called, sop_class, instance):
    user = CommitmentUser()  # takes the report, which the archive sends when it likes
    async with association(
        endpoints.clientFromString(reactor, call),
        calling_ae_title="ME", called_ae_title=called, contexts=[propose(STORAGE_COMMITMENT)], services=user,
    ) as opened:
        report = await user.commit(opened, [Reference(sop_class, instance)], timeout=60)
    for reference in report.committed:
        print(f"{reference.sop_instance_uid} is kept by {report.retrieve_ae_title}")
    for reference, reason in report.failed.items():
        print(f"{reference.sop_instance_uid} is not: {reason:04X}H")


task.react(main, sys.argv[1:])

"""A worklist SCP that tells what is scheduled from a table, and hears of each step that a device begins or ends.

    python examples/worklist.py LISTEN DATABASE DIRECTORY
"""

import sqlite3
import sys
from pathlib import Path

from pydicom import Dataset
from twisted.internet import defer, endpoints, task

from dimsetls.association import AcceptorFactory, ApplicationEntity
from dimsetls.services import ProcedureSteps, Services, StepFiles, Worklist


def scheduled(database):
    """What is asked for each C-FIND; matching is done for us, so all of it will do."""

    async def steps(request):
        rows = database.execute("SELECT patient_id, name, station, modality, day, time FROM scheduled")
        for patient_id, name, station, modality, day, time in rows:
            step = Dataset()
            step.ScheduledStationAETitle, step.Modality = station, modality
            step.ScheduledProcedureStepStartDate, step.ScheduledProcedureStepStartTime = day, time
            procedure = Dataset()
            procedure.PatientID, procedure.PatientName = patient_id, name
            procedure.ScheduledProcedureStepSequence = [step]
            yield procedure

    return steps


async def tell(change):
    print(f"{change.association.parties.calling_ae_title}: {change.sop_instance_uid} is {change.status}", flush=True)


async def main(reactor, listen, database, directory):
    kept = StepFiles(Path(directory))
    kept.open()
    services = Services(Worklist(scheduled(sqlite3.connect(database))), ProcedureSteps(kept, tell))
    factory = AcceptorFactory(ApplicationEntity("EXAMPLE", services))
    port = await endpoints.serverFromString(reactor, listen).listen(factory)
    print(f"listens on port {port.getHost().port}", flush=True)
    await defer.Deferred()


task.react(main, sys.argv[1:])

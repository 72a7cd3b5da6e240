"""An SCU that finds the studies of a patient and fetches each by C-GET, over one association.

    python examples/query_and_get.py CALL AE-TITLE PATIENT-ID DIRECTORY
"""

import sys
from pathlib import Path

from pydicom import Dataset
from pydicom.uid import CTImageStorage, MRImageStorage
from twisted.internet import endpoints, task

from dimsetls.association import as_scp, association, propose
from dimsetls.services import FileStore, Layout, Storage
from dimsetls.uids import STUDY_ROOT_FIND as FIND
from dimsetls.uids import STUDY_ROOT_GET as GET

KINDS = CTImageStorage, MRImageStorage


def study(**keys):
    identifier = Dataset()
    identifier.QueryRetrieveLevel = "STUDY"
    for keyword, value in keys.items():
        setattr(identifier, keyword, value)
    return identifier


async def main(reactor, call, called, patient, directory):
    store = FileStore(Path(directory), layout=Layout("{SOPInstanceUID}.dcm"))
    store.open()
    async with association(
        endpoints.clientFromString(reactor, call), calling_ae_title="ME", called_ae_title=called,
        contexts=[propose(FIND), propose(GET), *(propose(kind) for kind in KINDS)],
        role_selections=as_scp(*KINDS),  # what a C-GET fetches is stored with us
        services=Storage(store),
    ) as opened:
        keys = study(PatientID=patient, StudyInstanceUID="", StudyDate="", PatientName="")
        studies = [match async for match in opened.find(FIND, keys)]
        for match in studies:
            result = await opened.get(GET, study(StudyInstanceUID=match.StudyInstanceUID))
            count = result.response.number_of_completed_suboperations
            print(f"{match.PatientName} {match.StudyDate}: {count} instances")


task.react(main, sys.argv[1:])

"""A storage SCP on pynetdicom as its documentation teaches it: the encoded data set goes to a file, undecoded.

pynetdicom_scp.py PORT STORE KEYS MAXIMUM_LENGTH MATCHES

With MATCHES it answers C-FIND instead, with so many of them.
"""

from __future__ import annotations

import ssl
import sys
from collections.abc import Iterator
from pathlib import Path

from pydicom import Dataset
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelFind,
    Verification,
)


def main(port: int, store: Path, keys: Path, maximum_length: int, matches: int) -> None:
    def keep(event: evt.Event) -> int:
        (store / f"{event.request.AffectedSOPInstanceUID}.dcm").write_bytes(event.encoded_dataset())  # type: ignore[union-attr]
        return 0x0000

    def find(event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        match = Dataset()
        match.QueryRetrieveLevel, match.StudyInstanceUID = "STUDY", "1.2.3.4.5"
        match.PatientName, match.PatientID, match.StudyDate = "LOAD^BENCHMARK", "BENCHMARK", "20260101"
        for _ in range(matches):
            yield 0xFF00, match

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(keys / "ca.pem"))
    context.load_cert_chain(keys / "server.pem", keys / "server.key")
    context.verify_mode = ssl.CERT_REQUIRED
    ae = AE()
    ae.maximum_pdu_size = maximum_length
    ae.supported_contexts = AllStoragePresentationContexts
    ae.add_supported_context(Verification)
    if matches:
        ae.supported_contexts = []
        ae.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
    handlers = [(evt.EVT_C_STORE, keep), (evt.EVT_C_FIND, find)]
    ae.start_server(("127.0.0.1", port), ssl_context=context, evt_handlers=handlers)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]))

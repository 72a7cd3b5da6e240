"""A storage SCP on pynetdicom as its documentation teaches it: the encoded data set goes to a file, undecoded.

pynetdicom_scp.py PORT STORE KEYS MAXIMUM_LENGTH
"""

from __future__ import annotations

import ssl
import sys
from pathlib import Path

from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]


def main(port: int, store: Path, keys: Path, maximum_length: int) -> None:
    def keep(event: evt.Event) -> int:
        (store / f"{event.request.AffectedSOPInstanceUID}.dcm").write_bytes(event.encoded_dataset())  # type: ignore[union-attr]
        return 0x0000

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(keys / "ca.pem"))
    context.load_cert_chain(keys / "server.pem", keys / "server.key")
    context.verify_mode = ssl.CERT_REQUIRED
    ae = AE()
    ae.maximum_pdu_size = maximum_length
    ae.supported_contexts = AllStoragePresentationContexts
    ae.add_supported_context(Verification)
    ae.start_server(("127.0.0.1", port), ssl_context=context, evt_handlers=[(evt.EVT_C_STORE, keep)])


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))

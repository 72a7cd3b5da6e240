"""Orthanc, with DICOM TLS of its own and its files and index in memory or on disk as those of the other peers."""

from __future__ import annotations

import json

from .client import CALLED_AE, MAXIMUM_LENGTH
from .site import Site, program


def orthanc(site: Site) -> list[str]:
    """Its defaults, but for what the work fixes; it does not wait for the disk, and its REST API is off."""
    configuration = site.scratch / "orthanc.json"
    configuration.write_text(json.dumps({
        "StorageDirectory": str(site.store), "IndexDirectory": str(site.scratch), "Plugins": [],
        "HttpServerEnabled": False, "SyncStorageArea": False, "SaveJobs": False,
        "DicomAet": CALLED_AE, "DicomPort": site.port, "MaximumPduLength": MAXIMUM_LENGTH,
        "DicomAlwaysAllowEcho": True, "DicomAlwaysAllowStore": True, "DicomTlsEnabled": True,
        "DicomTlsCertificate": str(site.keys / "server.pem"), "DicomTlsPrivateKey": str(site.keys / "server.key"),
        "DicomTlsTrustedCertificates": str(site.keys / "ca.pem"), "DicomTlsRemoteCertificateRequired": True,
    }))
    return [program("Orthanc"), str(configuration)]

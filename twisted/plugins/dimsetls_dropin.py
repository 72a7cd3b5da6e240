"""What Twisted finds of dimsetls: the `twistd dimsetls` service and the parsers of `dicomtls:` endpoint strings."""

from twisted.application.service import ServiceMaker

from dimsetls.tls.strings import DicomTLSClientParser, DicomTLSServerParser

dimsetls = ServiceMaker("dimsetls", "dimsetls.node.program", "A DICOM node: associations over strict TLS.", "dimsetls")
dicomtls_server = DicomTLSServerParser()
dicomtls_client = DicomTLSClientParser()

"""DICOM associations over strict TLS with checked identities, for Twisted."""

__version__ = "0.1.0"

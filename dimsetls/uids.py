"""UIDs that the engine itself names, what a valid UID is, and who we are on the wire."""

from __future__ import annotations

import re
from functools import lru_cache

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
"""DICOM Application Context Name (PS3.7 A.2.1)."""

VERIFICATION = "1.2.840.10008.1.1"
"""Verification SOP Class (PS3.4 A.4)."""

PATIENT_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.1.1"
PATIENT_ROOT_MOVE = "1.2.840.10008.5.1.4.1.2.1.2"
PATIENT_ROOT_GET = "1.2.840.10008.5.1.4.1.2.1.3"
STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
STUDY_ROOT_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
STUDY_ROOT_GET = "1.2.840.10008.5.1.4.1.2.2.3"
"""Query/Retrieve SOP classes (PS3.4 C.6)."""

MODALITY_WORKLIST_FIND = "1.2.840.10008.5.1.4.31"
"""Modality Worklist Information Model (PS3.4 K.6)."""

STORAGE_COMMITMENT = "1.2.840.10008.1.20.1"
STORAGE_COMMITMENT_INSTANCE = "1.2.840.10008.1.20.1.1"
"""Storage Commitment Push Model SOP Class and its well-known instance (PS3.4 J.3)."""

PROCEDURE_STEP = "1.2.840.10008.3.1.2.3.3"
PROCEDURE_STEP_RETRIEVE = "1.2.840.10008.3.1.2.3.4"
"""Modality Performed Procedure Step SOP Classes (PS3.4 F.7 and F.8)."""

IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2"
EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1.99"
EXPLICIT_VR_BIG_ENDIAN = "1.2.840.10008.1.2.2"

ROOT = "2.25.185548626555563819323720191976028037159"
"""Our own root, derived from a random UUID (PS3.5 B.2)."""

IMPLEMENTATION_CLASS_UID = ROOT + ".1"
"""Implementation Class UID in association negotiation and file meta (PS3.7 D.3.3.2)."""

BEARER_TOKEN = ROOT + ".2"
"""Private SOP class whose extended negotiation carries an access token (docs/reference/bearer-extension.md)."""

IMPLEMENTATION_VERSION_NAME = "DIMSETLS_0.1"
"""Implementation Version Name, 1 to 16 characters (PS3.7 D.3.3.2.3)."""

_COMPONENT = r"(?:0|[1-9][0-9]*)"
_UID = re.compile(rf"{_COMPONENT}(?:\.{_COMPONENT})*\Z", re.ASCII)


def is_valid_uid(text: str) -> bool:
    """Whether `text` is a UID as PS3.5 §9.1 has it: 1 to 64 characters, digits and dots, no leading zeros."""
    return 0 < len(text) <= 64 and _has_components(text)


@lru_cache(1024)  # the same few SOP classes come again and again, and an instance's UID is looked at more than once
def _has_components(text: str) -> bool:
    return _UID.match(text) is not None

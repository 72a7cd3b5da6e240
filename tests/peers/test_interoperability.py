"""Every DICOM file that pydicom ships goes to the service and is found there byte for byte, by senders of others."""

from __future__ import annotations

import ssl
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import pydicom
import pytest
from pynetdicom import AE, _config

from dimsetls.uids import IMPLEMENTATION_CLASS_UID

from . import dcmtk
from .instances import Instance, data_set_of, named, shipped
from .running import Node, Service
from .sender import client_context

pytestmark = pytest.mark.peers

TLS_VERSIONS = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}
PROFILE = {"TLSv1.2": "--profile-bcp195-ex", "TLSv1.3": "--profile-bcp195"}
"""DCMTK's profile for a TLS version: the extended one ends at TLS 1.2."""

"""An archive that chooses among our presentation contexts badly; what the others do is in `tests/peers`."""

from __future__ import annotations

import pydicom
import pytest

from ...peers.archives import Destinations, dcmqrscp
from ...peers.instances import named
from ...peers.running import free_port
from .calls import call

CT, RLE = named("CT_small.dcm"), named("MR_small_RLE.dcm")


@pytest.mark.peers
def test_dcmqrscp_has_to_be_told_what_it_is_to_send_compressed(pki, tmp_path):
    """It takes the first context for a SOP class, whatever its transfer syntax, and says nothing of it in C-FIND."""
    (tmp_path / "archive").mkdir()
    with dcmqrscp(tmp_path / "archive", pki, Destinations(free_port(), free_port())) as archive:
        words = pki, archive.port, "--ae", archive.ae_title
        assert call("store", *words, CT.path, RLE.path).returncode == 0
        into = "--to", tmp_path / "got"
        assert call("get", *words, "PatientID=1CT1", *into).returncode == 0
        ended = call("get", *words, "PatientID=4MR1", *into)
        assert ended.returncode == 1
        assert "name what is missing by --sop-class, and by --transfer-syntax" in ended.stderr
        named_so = "--sop-class", "MRImageStorage", "--transfer-syntax", "RLELossless"
        assert call("get", *words, "PatientID=4MR1", *into, *named_so).returncode == 0
    got, stored = pydicom.dcmread(tmp_path / "got" / f"{RLE.sop_instance_uid}.dcm"), pydicom.dcmread(RLE.path)
    assert got.file_meta.TransferSyntaxUID == stored.file_meta.TransferSyntaxUID
    assert got.PixelData == stored.PixelData  # it encodes what is around it anew

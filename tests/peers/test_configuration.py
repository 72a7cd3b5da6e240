"""What an operator can set, seen from the other end of the wire."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest
from pynetdicom import AE

from dimsetls.ul.pdus import AssociateRJ

from . import dcmtk
from .instances import data_set_of, named
from .running import Node
from .scu import associated
from .sender import Rejected, Sender, client_context, connect

pytestmark = pytest.mark.peers

CT = "CT_small.dcm"


def copy(name: str, directory: Path, **changes: object) -> Path:
    """A file of pydicom's with other values in it."""
    ds = pydicom.dcmread(named(name).path)
    for keyword, value in changes.items():
        setattr(ds, keyword, value)
    if "SOPClassUID" in changes:
        ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    path = directory / f"copy-{name}"
    ds.save_as(path)
    return path


def place(name: str) -> str:
    """Where the default layout puts a file of pydicom's."""
    ds = pydicom.dcmread(named(name).path)
    return f"{ds.StudyInstanceUID}/{ds.SeriesInstanceUID}/{ds.SOPInstanceUID}.dcm"


@pytest.mark.parametrize("option", [
    "--propose-little", "--propose-implicit", "--propose-big", "--propose-deflated",
])  # fmt: skip
def test_the_default_layout_reads_every_transfer_syntax(node: Node, pki: Path, option: str) -> None:
    with node.running() as service:
        assert dcmtk.storescu(service, pki, [named(CT).path, named("rtplan.dcm").path], option).returncode == 0
    assert set(node.stored()) == {place(CT), place("rtplan.dcm")}


def test_a_layout_of_ones_own(node: Node, pki: Path) -> None:
    node.set("storage archive", layout="{CalledAETitle}/{CallingAETitle}/{SOPClassUID}/{SOPInstanceUID}")
    with node.running() as service:
        assert dcmtk.storescu(service, pki, [named(CT).path], "-aet", "CT 1/Room").returncode == 0
    assert list(node.stored()) == [
        f"DIMSETLS/CT%201%2FRoom/{named(CT).sop_class_uid}/{named(CT).sop_instance_uid}"
    ]


@pytest.mark.parametrize(("duplicates", "same", "other", "kept"), [
    ("identical", True, False, "first"),
    ("replace", True, True, "second"),
    ("keep", True, True, "first"),
    ("refuse", False, False, "first"),
])  # fmt: skip
def test_an_instance_that_comes_again(
    node: Node, pki: Path, tmp_path: Path, duplicates: str, same: bool, other: bool, kept: str
) -> None:
    node.set("storage archive", duplicates=duplicates)
    changed = copy(CT, tmp_path, ImageComments="another")
    with node.running() as service:
        assert dcmtk.storescu(service, pki, [named(CT).path]).returncode == 0
        for path, accepted in (named(CT).path, same), (changed, other):
            answer = dcmtk.storescu(service, pki, [path], "-v")
            assert (answer.returncode == 0) is accepted
            assert ("Received Store Response (Success)" in answer.stdout) is accepted
    refusals = service.lines(r"\banswered 0111H to message 1 of STORESCU: instance is already stored\b")
    assert len(refusals) == [same, other].count(False)
    (path,) = node.stored().values()
    comments = {"first": pydicom.dcmread(named(CT).path).ImageComments, "second": "another"}
    assert pydicom.dcmread(path).ImageComments == comments[kept]


@pytest.mark.parametrize(("length", "used"), [(4096, 4096), (16384, 16384), (131066, 131066), (16777216, 131072)])
def test_the_longest_pdu(node: Node, pki: Path, length: int, used: int) -> None:
    node.set("ae DIMSETLS", maximum_length=length)
    file = named("examples_overlay.dcm")
    with node.running() as service:
        answer = dcmtk.storescu(service, pki, [file.path], "-v")
        assert answer.returncode == 0
        assert f"Association Accepted (Max Send PDV: {used - 12})" in answer.stdout
    (path,) = node.stored().values()
    assert len(data_set_of(path)) >= 320_000


def test_several_listeners_and_application_entities(node: Node, pki: Path) -> None:
    (node.directory / "second").mkdir()
    node.set("listener main", aes="DIMSETLS, VERIFY")
    node.set("listener other", port=0, tls="secure", aes="OTHER")
    node.set("ae VERIFY", services="verification")
    node.set("ae OTHER", storage="second", services="storage")
    node.set("storage second", directory="second", layout="{SOPInstanceUID}.dcm")
    with node.running() as service:
        assert service.port("DIMSETLS") == service.port("VERIFY") != service.port("OTHER")
        for title, verifies, stores in ("DIMSETLS", True, True), ("VERIFY", True, False), ("OTHER", False, True):
            echo = dcmtk.echoscu(service, pki, called=title)
            store = dcmtk.storescu(service, pki, [named(CT).path], called=title)
            for answer, served in (echo, verifies), (store, stores):
                assert (answer.returncode == 0) is served
                assert ("No Acceptable Presentation Contexts" in answer.stdout) is not served
        tls, waits = dcmtk.secured(pki), dcmtk.WAITS
        answer = dcmtk.run("echoscu", *waits, "-aec", "OTHER", *tls, "127.0.0.1", service.port("DIMSETLS"))
        assert "Reason: Called AE Title Not Recognized" in answer.stdout
        service.expect(r"\brefused ECHOSCU .*A-ASSOCIATE-RJ \(1,1,7\).*'OTHER' was called; .* DIMSETLS, VERIFY$")
    assert list(node.stored()) == [place(CT)]
    assert [path.name for path in (node.directory / "second").glob("*.dcm")] == [f"{named(CT).sop_instance_uid}.dcm"]


def test_peers_that_may_call(node: Node, pki: Path) -> None:
    node.set("ae DIMSETLS", peers="here, elsewhere")
    node.set("peer here", ae_title="HERE", addresses="127.0.0.0/8, 192.0.2.1")
    node.set("peer elsewhere", ae_title="ELSEWHERE", addresses="192.0.2.0/24")
    with node.running() as service:
        assert dcmtk.echoscu(service, pki, "-aet", "HERE").returncode == 0
        for title in "ELSEWHERE", "STRANGER":
            answer = dcmtk.echoscu(service, pki, "-aet", title)
            assert answer.returncode != 0
            assert "Reason: Calling AE Title Not Recognized" in answer.stdout
            assert len(service.expect(rf"\brefused {title} .*A-ASSOCIATE-RJ \(1,1,3\)")) == 1


@pytest.mark.parametrize(("rule", "accepted"), [("refuse", False), ("accept", True)])
def test_unknown_sop_classes(node: Node, pki: Path, tmp_path: Path, rule: str, accepted: bool) -> None:
    private, worklist = "1.2.826.0.1.3680043.9.3811.9.9.9", "1.2.840.10008.5.1.4.31"
    node.set("ae DIMSETLS", unknown_sop_classes=rule)
    ae = AE("PYNETDICOM")
    for sop_class in private, worklist:
        ae.add_requested_context(sop_class, named(CT).transfer_syntax_uid)
    ae.add_requested_context("1.2.840.10008.1.1")
    with node.running() as service, associated(ae, service, pki) as association:
        rejected = {str(context.abstract_syntax): context.result for context in association.rejected_contexts}
        assert rejected == {worklist: 3} | ({} if accepted else {private: 3})
        if accepted:
            status = association.send_c_store(pydicom.dcmread(copy(CT, tmp_path, SOPClassUID=private)))
            assert status.get("Status") == 0x0000
    assert len(node.stored()) == accepted


def test_transfer_syntaxes_by_preference(node: Node, pki: Path) -> None:
    node.set("ae DIMSETLS", transfer_syntaxes="ImplicitVRLittleEndian, RLELossless")
    with node.running() as service:
        # Combined, both are in one presentation context, and the choice is the acceptor's.
        answer = dcmtk.storescu(service, pki, [named(CT).path], "--required", "--combine", "--propose-little")
        assert answer.returncode == 0, answer.stdout
        assert dcmtk.storescu(service, pki, [named("MR_small_RLE.dcm").path], "--propose-rle").returncode == 0
        assert dcmtk.storescu(service, pki, [named("JPEG2000.dcm").path], "--propose-j2k-lossy").returncode != 0
    found = {pydicom.dcmread(path).SOPClassUID.name: path for path in node.stored().values()}
    syntaxes = {name: pydicom.dcmread(path).file_meta.TransferSyntaxUID.keyword for name, path in found.items()}
    assert syntaxes == {"CT Image Storage": "ImplicitVRLittleEndian", "MR Image Storage": "RLELossless"}


@pytest.mark.parametrize(("option", "calling"), [
    ("associations", ("A", "B", "C")),
    ("associations_per_address", ("A", "B", "C")),
    ("associations_per_calling_ae", ("A", "A", "A")),
])  # fmt: skip
def test_one_association_too_many(node: Node, pki: Path, option: str, calling: tuple[str, str, str]) -> None:
    node.set("limits normal", **{option: 2})
    with node.running() as service:

        def associate(title: str) -> Sender:
            return Sender(connect(("127.0.0.1", service.port()), client_context(pki)), calling=title)

        first, second = associate(calling[0]), associate(calling[1])
        with pytest.raises(Rejected) as caught:
            associate(calling[2])
        assert caught.value.pdu == AssociateRJ(2, 3, 2)
        assert len(service.expect(rf"\brefused {calling[2]} .*A-ASSOCIATE-RJ \(2,3,2\)")) == 1
        first.release()
        service.expect(rf"\breleased {calling[0]} ")
        third = associate(calling[2])
        assert third.echo() == second.echo() == 0x0000
        third.release()
        second.release()


def test_client_certificates_may_be_left_out(node: Node, pki: Path) -> None:
    node.set("tls secure", client_certificate="optional")
    node.set("listener main", aes="DIMSETLS")
    with node.running() as service:
        anonymous = "+tla", "+cf", pki / "ca.pem"
        assert dcmtk.echoscu(service, pki, tls=anonymous).returncode == 0
        service.expect(r"\bstarted ECHOSCU .*\bno certificate\b")
        assert dcmtk.echoscu(service, pki).returncode == 0
        service.expect(r"\bstarted ECHOSCU .*\bCN=dimsetls development client\b")

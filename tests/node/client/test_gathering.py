from dimsetls.association.instances import Instance
from dimsetls.node.client.gathering import File, gather, remaining

from ...peers.instances import named


def file(uid, sop_class="1.2.3", syntax="1.2.840.10008.1.2"):
    return File(f"{uid}.dcm", 1, Instance(sop_class, uid, syntax, b""))


def test_a_named_file_that_is_no_dicom_is_a_problem_and_one_in_a_folder_is_passed_over(tmp_path):
    text = tmp_path / "notes.txt"
    text.write_text("notes")
    found = gather([str(tmp_path)])
    assert (found.files, found.problems, found.passed_over) == ([], [], 1)
    found = gather([str(text)])
    ((path, sentence),) = found.problems
    assert path == str(text)
    assert "is no DICOM file" in sentence


def test_a_damaged_file_in_a_folder_is_a_problem(tmp_path):
    (tmp_path / "damaged").write_bytes(bytes(128) + b"DICM")
    found = gather([str(tmp_path)])
    assert len(found.problems) == 1
    assert found.passed_over == 0


def test_a_dicomdir_is_no_instance(tmp_path):
    (tmp_path / "DICOMDIR").write_bytes(_dicomdir())
    assert gather([str(tmp_path)]).passed_over == 1
    ((_, sentence),) = gather([str(tmp_path / "DICOMDIR")]).problems
    assert "is a DICOMDIR" in sentence


def _dicomdir():
    uid = b"1.2.840.10008.1.3.10"
    elements = ((2, uid), (3, b"1.2.3\0"), (16, b"1.2.840.10008.1.2.1\0"))
    return bytes(128) + b"DICM" + b"".join(
        b"\2\0" + number.to_bytes(2, "little") + b"UI" + len(value).to_bytes(2, "little") + value
        for number, value in elements
    )


def test_where_files_share_a_uid_nobody_knows_which_was_acknowledged():
    once, twice, again, new = file("1"), file("2"), file("2"), file("3")
    assert remaining([once, twice, again, new], {"1", "2"}) == [twice, again, new]


def test_what_was_passed_over_is_a_problem_where_it_is_named_too(tmp_path):
    (tmp_path / "notes.txt").write_text("notes")
    (tmp_path / "DICOMDIR").write_bytes(_dicomdir())
    found = gather([str(tmp_path), str(tmp_path), str(tmp_path / "notes.txt"), str(tmp_path / "DICOMDIR")])
    assert (len(found.problems), found.passed_over) == (2, 0)


def test_a_link_to_nowhere_is_a_problem_wherever_it_is(tmp_path):
    (tmp_path / "link").symlink_to("nowhere")
    for places in ([str(tmp_path)], [str(tmp_path / "link")], [str(tmp_path), str(tmp_path / "link")]):
        ((_, sentence),) = gather(places).problems
        assert sentence == f"{tmp_path}/link cannot be read: No such file or directory"


def test_links_to_folders_are_followed_but_not_in_a_circle(tmp_path):
    (tmp_path / "study").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "ct.dcm").write_bytes(named("CT_small.dcm").path.read_bytes())
    (tmp_path / "study" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "study" / "circle").symlink_to(tmp_path / "study")
    found = gather([str(tmp_path / "study")])
    assert [file.path for file in found.files] == [str(tmp_path / "study" / "link" / "ct.dcm")]
    assert found.problems == []

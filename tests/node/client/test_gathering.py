from dimsetls.association.instances import Instance
from dimsetls.node.client.gathering import File, batches, gather, remaining


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


def test_the_kinds_of_a_lot_fit_into_the_contexts_of_an_association():
    files = [file(str(number), sop_class=f"1.{number % 50}") for number in range(200)]
    lots = list(batches(files))
    assert sorted(len({each.instance.sop_class_uid for each in lot}) for lot in lots) == [10, 40]
    assert sum(map(len, lots)) == 200

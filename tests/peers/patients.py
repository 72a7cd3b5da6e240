"""Patients whose names are not ASCII: one small instance for each character set, in a study and a series of its own."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pydicom

from dimsetls.uids import EXPLICIT_VR_LITTLE_ENDIAN

from .instances import Instance, data_set_of, write_part10
from .sender import CT_IMAGE_STORAGE

JAPANESE = "Yamada^Tarou=山田^太郎=やまだ^たろう"
NAMES = {
    ("ISO_IR 100",): "Buc^Jérôme",
    ("ISO_IR 101",): "Wałęsa^Łukasz",
    ("ISO_IR 144",): "Люкceмбypг",
    ("ISO_IR 127",): "قباني^لنزار",
    ("ISO_IR 126",): "Διονυσιος",
    ("ISO_IR 138",): "שרון^דבורה",
    ("ISO_IR 148",): "Çavuşoğlu",
    ("ISO_IR 166",): "นามสกุล^ชื่อ",
    ("", "ISO 2022 IR 87"): JAPANESE,
    ("ISO 2022 IR 13", "ISO 2022 IR 87"): "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
    ("", "ISO 2022 IR 149"): "Hong^Gildong=洪^吉洞=홍^길동",
    ("", "ISO 2022 IR 58"): "Zhang^XiaoDong=张^小东",
    ("ISO_IR 192",): "Wang^XiaoDong=王^小東",
    ("GB18030",): "Wang^XiaoDong=王^小东",
    ("GBK",): "Li^XiaoMing=李^小明",
}
"""Specific Character Set to a name, most of them the examples of PS3.5 Annexes H to K."""

GB2312 = ("", "ISO 2022 IR 58")
"""pydicom writes it without the escape sequences that it must have, so nothing of ours can write it either."""


@dataclass(frozen=True, slots=True)
class Patient:
    """The only instance of a patient."""

    patient_id: str
    name: str
    character_sets: tuple[str, ...]
    study_instance_uid: str
    instance: Instance

    @property
    def term(self) -> str:
        """Of the first character set that is one."""
        return next(filter(None, self.character_sets))

    @property
    def pattern(self) -> str:
        """The family name in the second script, where there is one, with wild cards."""
        _, *others = self.name.split("=")
        return f"*{others[0].split('^')[0]}*" if others else f"{self.name.split('^')[0]}*"


def patients(directory: Path) -> list[Patient]:
    """The patients, and their instances as files in a directory."""
    made = []
    for number, (character_sets, name) in enumerate(NAMES.items(), 1):
        study, uid = f"1.2.826.0.1.3680043.10.{number}", f"1.2.826.0.1.3680043.10.{number}.1.1"
        ds = pydicom.Dataset()
        ds.SpecificCharacterSet = list(character_sets)
        ds.SOPClassUID, ds.SOPInstanceUID, ds.StudyInstanceUID, ds.SeriesInstanceUID = (
            CT_IMAGE_STORAGE, uid, study, f"{study}.1")
        ds.PatientID, ds.PatientName, ds.PatientBirthDate, ds.PatientSex = f"NAMED-{number:02}", name, "19700101", "O"
        ds.StudyDate, ds.StudyTime, ds.AccessionNumber, ds.StudyID = "20260102", "030405", str(number), str(number)
        if character_sets == GB2312:
            written = (group.encode("gb2312") for group in re.split("([=^])", name))
            ds.PatientName = b"".join(group if group.isascii() else b"\x1b$)A" + group for group in written)
        ds.ReferringPhysicianName, ds.Modality, ds.SeriesNumber, ds.InstanceNumber = "", "CT", 1, 1
        path = directory / f"patient-{number:02}.dcm"
        ds.save_as(path, implicit_vr=False, little_endian=True)
        instance = Instance(path, CT_IMAGE_STORAGE, uid, EXPLICIT_VR_LITTLE_ENDIAN, True, data_set_of(path))
        write_part10(instance)
        made.append(Patient(ds.PatientID, name, character_sets, study, instance))
    return made

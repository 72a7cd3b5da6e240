from __future__ import annotations

from pydicom import uid
from pydicom._uid_dict import UID_dictionary
from pynetdicom import AllStoragePresentationContexts

from dimsetls.services.known import other_sop_classes, storage_sop_classes, transfer_syntaxes
from dimsetls.uids import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    VERIFICATION,
    is_valid_uid,
)

STORAGE_COMMITMENT, MEDIA_DIRECTORY = "1.2.840.10008.1.20.1", "1.2.840.10008.1.3.10"
STUDY_ROOT_FIND, PRINT = "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.5.1.1.9"


def named(*words: str) -> set[str]:
    """The SOP classes of pydicom whose keyword ends with one of these."""
    return {each for each, (_, kind, _, _, keyword) in UID_dictionary.items()
            if kind == "SOP Class" and keyword.endswith(words)}  # fmt: skip


def test_every_sop_class_that_pydicom_calls_storage_is_one():
    trials = named("Storage", "StorageTrial", "StorageRetired")
    assert trials - storage_sop_classes() == {MEDIA_DIRECTORY}
    assert len(storage_sop_classes()) > 180


def test_every_sop_class_that_another_implementation_stores_is_one_if_pydicom_knows_it():
    others = {str(context.abstract_syntax) for context in AllStoragePresentationContexts}
    assert others & set(UID_dictionary) <= storage_sop_classes()
    assert not others & other_sop_classes()


def test_the_non_patient_objects_are_stored_with_c_store_too():
    """PS3.4 Annex GG: hanging protocols, colour palettes, implant templates, protocols."""
    non_patient = {uid.HangingProtocolStorage, uid.ColorPaletteStorage, uid.GenericImplantTemplateStorage,
                   uid.ImplantAssemblyTemplateStorage, uid.ImplantTemplateGroupStorage}  # fmt: skip
    assert non_patient <= storage_sop_classes()


def test_what_is_only_named_alike_is_not_storage():
    assert not {STORAGE_COMMITMENT, MEDIA_DIRECTORY, VERIFICATION, STUDY_ROOT_FIND} & storage_sop_classes()


def test_what_belongs_to_another_service_is_known_to_be_no_storage():
    assert {STORAGE_COMMITMENT, MEDIA_DIRECTORY, VERIFICATION, STUDY_ROOT_FIND, PRINT} <= other_sop_classes()
    assert not other_sop_classes() & storage_sop_classes()


def test_the_transfer_syntaxes_are_in_the_order_of_preference():
    order = list(transfer_syntaxes().values())
    assert order[:2] == [EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN]
    place = {each: position for position, each in enumerate(order)}
    native = [DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN]
    lossless = [uid.JPEGLossless, uid.JPEGLosslessSV1, uid.JPEGLSLossless, uid.JPEG2000Lossless, uid.RLELossless,
                uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL]  # fmt: skip
    lossy = [uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLSNearLossless, uid.JPEG2000, uid.MPEG2MPML,
             uid.HEVCMP51, uid.HTJ2K]  # fmt: skip
    assert max(place[each] for each in native) < min(place[each] for each in lossless)
    assert max(place[each] for each in lossless) < min(place[each] for each in lossy)


def test_every_transfer_syntax_of_a_stored_data_set_is_there_once_under_its_keyword():
    known = transfer_syntaxes()
    assert len(set(known.values())) == len(known)
    assert all(is_valid_uid(each) for each in known.values())
    assert known["RLELossless"] == uid.RLELossless
    assert known["DeflatedExplicitVRLittleEndian"] == DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN
    every = {each for each, (_, kind, *_) in UID_dictionary.items() if kind == "Transfer Syntax"}
    assert {UID_dictionary[each][0].split()[0] for each in every - set(known.values())} == {"RFC", "XML", "SMPTE"}

import pytest

from dimsetls.node.client.foresight import MOST_CONTEXTS, contexts_for, sop_class, transfer_syntax, usual

NATIVE = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
CT, MR, J2K = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.1.2.4.90"


def test_what_is_known_is_proposed_exactly_and_uncompressed_besides():
    assert contexts_for([(CT, J2K), (MR, NATIVE[0])]) == ((CT, NATIVE), (MR, NATIVE), (CT, (J2K,)), (MR, NATIVE[:1]))


def test_what_is_not_known_is_proposed_in_every_transfer_syntax_each_in_a_context_of_its_own():
    proposed = contexts_for([(CT, "")])
    assert proposed[0] == (CT, NATIVE)
    assert all(len(syntaxes) == 1 for _, syntaxes in proposed[1:])
    assert len({syntax for _, syntaxes in proposed for syntax in syntaxes}) > 50


def test_many_kinds_have_room_for_one_context_each_first():
    proposed = contexts_for((f"1.2.{number}", "") for number in range(200))
    assert len(proposed) == MOST_CONTEXTS == len({abstract for abstract, _ in proposed})
    guessed = contexts_for(usual())
    assert MOST_CONTEXTS - 5 < len(guessed) <= MOST_CONTEXTS
    assert {abstract for abstract, syntaxes in guessed if syntaxes == NATIVE} == {uid for uid, _ in usual()}
    assert (CT, NATIVE) in guessed
    assert (CT, (J2K,)) in guessed


def test_what_is_named_is_proposed_alone():
    assert contexts_for([(CT, ""), (MR, NATIVE[1])], [J2K]) == ((CT, (J2K,)), (MR, (J2K,)))


def test_a_sop_class_has_two_names():
    assert sop_class("CTImageStorage") == sop_class(CT) == CT
    assert sop_class("1.2.826.0.1.3680043.9.1") == "1.2.826.0.1.3680043.9.1"
    with pytest.raises(ValueError, match="found 'CTImage', expected the keyword"):
        sop_class("CTImage")


def test_so_has_a_transfer_syntax():
    assert transfer_syntax("JPEG2000Lossless") == transfer_syntax(J2K) == J2K
    with pytest.raises(ValueError, match="found 'JPEG', expected the keyword"):
        transfer_syntax("JPEG")

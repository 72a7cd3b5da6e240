"""Which presentation contexts a C-GET needs: an association has 128, and what may come is far more.

So the peer is asked first, by C-FIND, what the instances are. Where it does not answer that, the usual ones are
proposed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING

from pydicom.dataset import Dataset

from ...association.requestor import NATIVE
from ...association.retrieving import MOST
from ...services.known import UIDS, storage_sop_classes, transfer_syntaxes
from ...services.models import UNIQUE_KEYS, Level, Model
from ...uids import is_valid_uid

if TYPE_CHECKING:
    from ...association import RequestedAssociation

MOST_CONTEXTS = 126  # beside the one for C-GET, and one for an access token (PS3.7 D.3.3.7)

_IMAGES = """
    CTImageStorage MRImageStorage UltrasoundImageStorage UltrasoundMultiFrameImageStorage
    ComputedRadiographyImageStorage DigitalXRayImageStorageForPresentation
    DigitalMammographyXRayImageStorageForPresentation SecondaryCaptureImageStorage
    MultiFrameTrueColorSecondaryCaptureImageStorage XRayAngiographicImageStorage
    XRayRadiofluoroscopicImageStorage EnhancedCTImageStorage EnhancedMRImageStorage
"""
_NO_IMAGES = """
    PositronEmissionTomographyImageStorage NuclearMedicineImageStorage GrayscaleSoftcopyPresentationStateStorage
    BasicTextSRStorage EnhancedSRStorage ComprehensiveSRStorage XRayRadiationDoseSRStorage
    KeyObjectSelectionDocumentStorage EncapsulatedPDFStorage RTImageStorage RTDoseStorage RTPlanStorage
    RTStructureSetStorage SegmentationStorage
"""
"""The latter are seldom compressed, and some have nothing that could be."""
_COMPRESSED = "JPEGBaseline8Bit JPEGLosslessSV1 JPEG2000Lossless JPEG2000 RLELossless JPEGLSLossless JPEGExtended12Bit"
"""The likeliest first."""


async def listed(association: RequestedAssociation, model: Model, query: Dataset) -> Counter[tuple[str, str]] | None:
    """How many instances the query would retrieve, by SOP class and transfer syntax, which may be "": not told.

    It is asked from the level of the query down, for peers answer about one level at a time (PS3.4 C.4.1.2.1). None
    where the peer does not say what they are, or says more than one C-GET could bring. Raises as C-FIND does.
    """
    level = Level(query.QueryRetrieveLevel)
    found = [{keyword: query[keyword].value for keyword in UNIQUE_KEYS.values() if keyword in query}]
    for each in model.levels[model.levels.index(level) :]:
        branches, found = found, []
        for branch in branches:
            asked = Dataset()
            asked.QueryRetrieveLevel = each.value
            for keyword in (UNIQUE_KEYS[each], *(_KIND if each is Level.IMAGE else ())):
                setattr(asked, keyword, "")
            for keyword, value in branch.items():
                setattr(asked, keyword, value)
            async with association.find(model.find, asked) as matches:
                async for match in matches:
                    kind = {keyword: match.get(keyword) for keyword in _KIND}
                    found.append(branch | {UNIQUE_KEYS[each]: match.get(UNIQUE_KEYS[each])} | kind)
                    if len(found) > MOST:
                        return None
        if each is not Level.IMAGE:
            found = [{name: value for name, value in branch.items() if name not in _KIND} for branch in found]
    kinds = Counter((str(each["SOPClassUID"]), _one(each["AvailableTransferSyntaxUID"])) for each in found)
    return kinds if all(is_valid_uid(sop_class) for sop_class, _ in kinds) else None


_KIND = ("SOPClassUID", "AvailableTransferSyntaxUID")


def _one(value: object) -> str:
    """The transfer syntax, where it is one; of several nobody knows which is the stored one."""
    return str(value) if is_valid_uid(str(value)) else ""


def contexts_for(
    kinds: Iterable[tuple[str, str]], only: Sequence[str] = ()
) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """What to propose for these: each SOP class in the transfer syntaxes that are known, one context for each.

    In every SOP class the uncompressed ones come first, and where a transfer syntax is not known, all that can be
    are proposed, the usual first, as many as there is room for. With `only` it is these, and no others.
    """
    wanted: dict[str, dict[tuple[str, ...], None]] = {}
    unknown: dict[str, None] = {}
    for sop_class, syntax in kinds:
        wanted.setdefault(sop_class, {NATIVE: None})
        if syntax:
            wanted[sop_class][syntax,] = None
        else:
            unknown[sop_class] = None
    known = transfer_syntaxes()
    usual = dict.fromkeys((*(known[keyword] for keyword in _COMPRESSED.split()), *known.values()))
    for sop_class in unknown:
        wanted[sop_class] |= {(syntax,): None for syntax in usual if syntax not in NATIVE}
    if only:
        wanted = {sop_class: {(syntax,): None for syntax in only} for sop_class in wanted}
    ranks = zip_longest(*([(sop_class, syntaxes) for syntaxes in offers] for sop_class, offers in wanted.items()))
    return tuple(each for rank in ranks for each in rank if each is not None)[:MOST_CONTEXTS]


def usual() -> list[tuple[str, str]]:
    """What may be expected of a peer that does not say: as many contexts as there is room for."""
    by_keyword, known = {UIDS[uid][4]: uid for uid in storage_sop_classes()}, transfer_syntaxes()
    compressed = [(by_keyword[image], known[each]) for image in _IMAGES.split() for each in _COMPRESSED.split()]
    return compressed + [(by_keyword[each], NATIVE[0]) for each in _NO_IMAGES.split()]


def transfer_syntax(name: str) -> str:
    """The UID of a transfer syntax, by its keyword or UID. Raises ValueError."""
    found = transfer_syntaxes().get(name, name)
    if not is_valid_uid(found) or "." not in found:
        raise ValueError(f"found {name!r}, expected the keyword or UID of a transfer syntax, such as JPEG2000Lossless")
    return found


def sop_class(name: str) -> str:
    """The UID of a storage SOP class, by its keyword or UID. Raises ValueError."""
    found = {UIDS[uid][4]: uid for uid in storage_sop_classes()}.get(name, name)
    if not is_valid_uid(found) or "." not in found:
        raise ValueError(f"found {name!r}, expected the keyword or UID of a storage SOP class, such as CTImageStorage")
    return found

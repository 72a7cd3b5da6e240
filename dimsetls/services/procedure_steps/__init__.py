"""Modality Performed Procedure Step (PS3.4 Annex F): devices tell what they do, and what became of it."""

from .files import StepFiles
from .interfaces import IStepStore
from .provider import Change, ProcedureSteps
from .rules import changed, check_new

__all__ = [
    "Change",
    "IStepStore",
    "ProcedureSteps",
    "StepFiles",
    "changed",
    "check_new",
]

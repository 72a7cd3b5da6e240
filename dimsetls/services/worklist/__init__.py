"""Modality Worklist (PS3.4 Annex K): what is scheduled, told to the devices that are to do it."""

from .files import WorklistDirectory
from .provider import Steps, Worklist

__all__ = ["Steps", "Worklist", "WorklistDirectory"]

"""`dimsetls conformance`: the DICOM conformance statement (PS3.2) of one configuration, as Markdown or HTML."""

from .chapters import statement
from .text import html, markdown

__all__ = ["html", "markdown", "statement"]

"""Names that a package shows, each loaded from its module by whoever asks for it first (PEP 562).

To import any module of a package runs the package first. If that loaded all that it shows, a process that answers
C-ECHO would load SQLite and pydicom as well.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def exports(package: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """The `__getattr__` of a package, by what its modules give to it: names, separated by spaces."""
    places = {name: module for module, names in modules.items() for name in names.split()}

    def load(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        found = getattr(import_module(f"{package}.{places[name]}"), name)
        setattr(sys.modules[package], name, found)  # it is not asked for again
        return found

    return load

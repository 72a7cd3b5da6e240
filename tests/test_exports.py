from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path

import pytest


@pytest.mark.parametrize("package", ["association", "services"])
def test_what_a_package_shows_is_what_it_says_to_type_checkers(package):
    shown = import_module(f"dimsetls.{package}")
    (names,) = (node.body for node in ast.parse(Path(shown.__file__).read_bytes()).body if isinstance(node, ast.If))
    modules = {alias.name: statement.module for statement in names for alias in statement.names}
    assert {*shown.__all__} - modules.keys() <= {"Status"}  # of the room below
    assert modules.keys() <= {*shown.__all__}
    for name, module in modules.items():
        assert getattr(shown, name) is getattr(import_module(f"dimsetls.{package}.{module}"), name)


def test_what_it_does_not_show_it_does_not_have():
    from dimsetls import services

    with pytest.raises(AttributeError, match=r"module 'dimsetls\.services' has no attribute 'nothing'"):
        services.nothing  # noqa: B018

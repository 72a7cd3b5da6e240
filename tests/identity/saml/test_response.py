from __future__ import annotations

from datetime import UTC, datetime

from lxml import etree

from dimsetls.identity.saml.response import success


def test_an_identifier_stays_one_attribute():
    identifier = """_<a b="c" d='e'>&amp;"""
    root = etree.fromstring(success(identifier, datetime(2026, 1, 31, 12, tzinfo=UTC)))
    assert root.get("InResponseTo") == identifier
    assert root.get("IssueInstant") == "2026-01-31T12:00:00Z"
    assert len(root.attrib) == 4

"""DCMTK's storescp: with TLS of its own, and without for what stands before it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from .client import MAXIMUM_LENGTH
from .site import Site, first_line, missing


def dcmtk(name: str) -> str:
    """The path of a DCMTK program, or empty; pynetdicom's Python scripts of the same names are passed over."""
    for folder in os.get_exec_path():
        path = shutil.which(name, path=folder)
        if path and Path(path).read_bytes()[:2] != b"#!":
            return path
    return ""


def missing_dcmtk() -> str:
    """It must be installed."""
    return missing(dcmtk("storescp"), "the package dcmtk")


def dcmtk_version() -> str:
    """As the program prints it, for example "dcmtk: storescp v3.6.7 2022-04-22"."""
    return first_line(dcmtk("storescp"), "--version")


def plain_storescp(site: Site) -> list[str]:
    """Without TLS, at the inner port."""
    return [*_storescp(site), str(site.inner)]


def storescp(site: Site, *options: str) -> list[str]:
    """As it comes; like the other peers it takes every storage class and several associations at once."""
    return [*_storescp(site), *options, "--enable-tls", str(site.keys / "server.key"), str(site.keys / "server.pem"),
            "--add-cert-file", str(site.keys / "ca.pem"), str(site.port)]


def _storescp(site: Site) -> list[str]:
    return [dcmtk("storescp"), "--quiet", "--max-pdu", str(MAXIMUM_LENGTH), *(["--fork"] if site.several else []),
            "--output-directory", str(site.store)]

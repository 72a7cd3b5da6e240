"""A storescp without TLS behind a program that has it, as many sites do: stunnel or HAProxy."""

from __future__ import annotations

import shlex

from .site import Site, program
from .storescp import plain_storescp
from .tls import SUITE

STUNNEL = """\
foreground = yes
pid =
debug = err
socket = l:TCP_NODELAY=1
socket = r:TCP_NODELAY=1

[dicom]
accept = 127.0.0.1:{site.port}
connect = 127.0.0.1:{site.inner}
cert = {site.keys}/server.pem
key = {site.keys}/server.key
CAfile = {site.keys}/ca.pem
verifyChain = yes
sslVersionMin = TLSv1.3
ciphersuites = {suite}
curves = P-256
"""
HAPROXY = """\
global
  maxconn 1000

defaults
  mode tcp
  timeout connect 10s
  timeout client 600s
  timeout server 600s

listen dicom
  bind 127.0.0.1:{site.port} ssl crt {site.scratch}/server.pem ca-file {site.keys}/ca.pem verify required \
ssl-min-ver TLSv1.3 ciphersuites {suite} curves P-256
  server storescp 127.0.0.1:{site.inner}
"""


def stunnel(site: Site) -> list[str]:
    """stunnel, with a thread for each connection."""
    configuration = site.scratch / "stunnel.conf"
    configuration.write_text(STUNNEL.format(site=site, suite=SUITE))
    return _before_storescp(site, [program("stunnel"), str(configuration)])


def haproxy(site: Site) -> list[str]:
    """HAProxy, with a thread for each processor that it may use."""
    configuration = site.scratch / "haproxy.cfg"
    configuration.write_text(HAPROXY.format(site=site, suite=SUITE))
    both = b"".join((site.keys / name).read_bytes() for name in ("server.pem", "server.key"))
    (site.scratch / "server.pem").write_bytes(both)
    return _before_storescp(site, [program("haproxy"), "-db", "-f", str(configuration)])


def _before_storescp(site: Site, terminator: list[str]) -> list[str]:
    """Both as one command, whose process is the terminator's, and storescp a child of it."""
    return ["sh", "-c", f"{shlex.join(plain_storescp(site))} & exec {shlex.join(terminator)}"]

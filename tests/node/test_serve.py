from __future__ import annotations

import os
import signal

import pytest
from pynetdicom import AE

from dimsetls.node.cli import main
from dimsetls.uids import VERIFICATION

from ..peers.running import Service
from ..peers.sender import client_context
from .client.calls import PROGRAM, call


def serving(*arguments, **how):
    return Service([*PROGRAM, "serve", *map(str, arguments)], **how)


@pytest.mark.parametrize("how", ["directory", "--config", "environment"])
def test_it_serves_as_twistd_does_until_it_is_interrupted(how, node, pki):
    ini = node.write()
    arguments = {"directory": [ini.parent], "--config": ["--config", ini], "environment": []}[how]
    service = serving(*arguments, env=os.environ | {"DIMSETLS_CONFIG": str(ini)} if how == "environment" else None)
    try:
        assert call("echo", pki, service.port(), "--ae", "DIMSETLS").returncode == 0
        service.process.send_signal(signal.SIGINT)
        assert service.wait() == -signal.SIGINT
    finally:
        service.kill()
    assert service.lines("stopped$")
    assert not service.lines("Traceback|CRITICAL")


def test_the_first_interruption_waits_for_associations_and_the_second_does_not(node, pki):
    node.set("node", drain_timeout="10m")
    service = serving("--config", node.write())
    try:
        ae = AE("HELD")
        ae.add_requested_context(VERIFICATION)
        tls = client_context(pki), "localhost"
        association = ae.associate("127.0.0.1", service.port(), ae_title="DIMSETLS", tls_args=tls)
        assert association.is_established
        service.process.send_signal(signal.SIGINT)
        service.expect("stopping; 1 associations have 600 s to finish")
        service.process.send_signal(signal.SIGINT)
        assert service.wait() == -signal.SIGINT
        association.abort()
    finally:
        service.kill()
    assert not service.lines("Traceback|stopped$")


def test_what_cannot_be_served_is_said_as_check_says_it(tmp_path, capsys):
    service = serving(tmp_path)
    assert service.wait() == 1
    assert main(["check", str(tmp_path / "dimsetls.ini")]) == 1
    assert service.log == capsys.readouterr().err.rstrip("\n")


def test_one_place_alone(tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["serve", str(tmp_path), "--config", "x.ini"])
    assert caught.value.code == 2
    assert "not allowed with argument" in capsys.readouterr().err

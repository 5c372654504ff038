"""The guest as the image starts it: `twocvm guest serve` without a command line around it, and with nothing to choose.

So the image needs none of the libraries that read a command line, and what cannot be asked for cannot be asked for
wrongly: every means of isolation is demanded, and everything that is said is one line of JSON.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Final

from twocvm_verifier.clock import SystemClock
from twocvm_verifier.errors import TwoCvmError
from twocvm_verifier.framing import HASH_BYTES

from .platforms.attester import Attester
from .platforms.detect import open_any
from .platforms.measure import measure_installed
from .platforms.simulated import SimulatedPlatform
from .runtime.isolation import probe
from .serve import new_guest, run_to_its_end

_EVERYWHERE: Final = "0.0.0.0"  # noqa: S104 - the guest's one card
_FAILED: Final = 1


def main(port: str, simulated_root: str = "") -> None:
    """Run one launch of a guest and end the process, with the exit status of the table of codes.

    Args:
        port: Where it listens on every card, in decimal.
        simulated_root: Where to write the root of a simulated platform (PEM); empty for whatever device is there.
    """
    try:
        if simulated_root:
            _serve(_simulated(Path(simulated_root)), int(port))
        else:
            with closing(open_any()) as platform:
                _serve(platform, int(port))
    except TwoCvmError as error:
        sys.stderr.write(f"{error.code}: {error.detail}\n")
        sys.exit(error.exit_status)
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(_FAILED)


def _simulated(root: Path) -> SimulatedPlatform:
    platform = SimulatedPlatform.create(
        host_data=bytes(HASH_BYTES), measurement=measure_installed(), at=SystemClock().now(), latency_seconds=0.0
    )
    root.write_bytes(platform.root_pem)
    return platform


def _serve(attester: Attester, port: int) -> None:
    isolation = probe()
    isolation.require_complete()
    run_to_its_end(new_guest(attester, isolation, host=_EVERYWHERE, port=port), on_ready=_say)


def _say(facts: Mapping[str, str]) -> None:
    # One line, at once: the first process waits for it.
    sys.stdout.write(json.dumps(dict(facts)) + "\n")
    sys.stdout.flush()

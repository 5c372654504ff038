"""The production image on a device of its kernel's that has bad days: a whole session, and whatever ends it.

Kernel and initrd are the image's own; what makes the device lies behind them (`tests.support.device_machine`). One boot
is in every run of the tests: what passes comes first, then a session, and what is fatal ends it. The same on the files
of configfs-tsm, and the troubles that keep a guest from beginning, take a boot each and are on demand (`make boots`).
"""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pytest
from tests.support.device_machine import DeviceMachine, image_with_device
from tests.support.images import built_images, shared_folder
from tests.support.launches import at_once
from tests.support.machine import EVERY_BOOT, ON_DEMAND, PATIENCE_SECONDS, machine_world, outsiders
from tests.support.manifests import MEASUREMENT
from tests.support.ovmf import ovmf
from tests.support.raw_client import RawClient, request
from tests.support.simulated import launch
from tests.support.snp_firmware import BUSY, Change, Fail, Firmware, another_request, one_byte_short, table_of
from tests.support.tsm_files import somebody_writes

from twocvm_guest.image.boot import EMULATOR, Machine, hardware
from twocvm_guest.image.build import Image
from twocvm_guest.image.command_line import FIXED, Variant
from twocvm_guest.image.folder import ImageFolder, write_image
from twocvm_guest.image.payload import write_payload
from twocvm_guest.platforms.device import PAUSES_SECONDS
from twocvm_verifier import strictjson
from twocvm_verifier.errors import TwoCvmError
from twocvm_verifier.logevents import Outcome
from twocvm_verifier.measure import LaunchFiles, launch_of

pytestmark = pytest.mark.timeout(600)

MADE: Final = "twocvm MADE"
THROTTLED: Final = Fail(errno.EBUSY, keeps_key=True)
MOST_PAGES: Final = 4
TROUBLES_OF_A_START: Final = (
    # The device is asked how much room certificates need, and then for them, when they need more; then once more.
    *(THROTTLED, Fail(errno.EAGAIN, keeps_key=True), None),
    Change(room=MOST_PAGES * 4096),
    None,
    # What this launch is.
    *(Fail(errno.EINTR, keeps_key=True), None),
    # The certificate of the first key.
    *(Fail(errno.EIO, hypervisor=BUSY, keeps_key=True), None),
)
"""What a guest takes from its device until it serves, in the order in which it asks."""

TROUBLES_OF_FILES: Final = (
    # Somebody writes in between the first time.
    *(None, THROTTLED, Fail(errno.EINTR, keeps_key=True), None),
    *(Fail(errno.EAGAIN, keeps_key=True), None),
    None,
)
"""The same for configfs-tsm, where certificates are asked for with the report."""

FILES: Final = {"piece_bytes": 97, "meddling": {"read outblob": [somebody_writes]}}
THROTTLED_FOR_GOOD: Final = (THROTTLED,) * (len(PAUSES_SECONDS) + 1)
REFUSED: Final = Change(status=0x16)
MOST_REPORTS: Final = 24
"""More than the whole session here takes."""

TROUBLES_OF_A_SESSION: Final = (*THROTTLED_FOR_GOOD, REFUSED, *(None,) * MOST_REPORTS)
LOST: Final = Fail(errno.EIO, firmware=0x16)


@dataclass(frozen=True, slots=True, kw_only=True)
class Launched:
    """An image with a device behind it, and what answers there."""

    image: ImageFolder
    firmware: Firmware


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """The production image."""
    if shutil.which(EMULATOR) is None:
        pytest.skip(f"{EMULATOR} is not here: nothing is booted")
    images = built_images(shared_folder(tmp_path_factory))
    return next(image for image in images if image.variant is Variant.PRODUCTION)


@pytest.fixture(scope="module")
def launched(built: Image, tmp_path_factory: pytest.TempPathFactory) -> Launched:
    """The image that serves a session, on a device with all that passes, and with what does not at its end."""
    return launched_with(built, tmp_path_factory.mktemp("image"), *TROUBLES_OF_A_START, *TROUBLES_OF_A_SESSION, LOST)


def launched_with(
    built: Image, folder: Path, *troubles: Fail | Change | None, files: Mapping[str, object] | None = None
) -> Launched:
    """Return the image with a device on which these troubles come, whose host has loaded its chip's certificates."""
    platform = launch(host_data=bytes(32), measurement=MEASUREMENT)
    firmware = Firmware(platform, table_of(platform, only=("vcek", "intermediate", "ark", "crl")))
    firmware.troubles.extend(troubles)
    return Launched(image=image_with_device(built, firmware, folder, files=files), firmware=firmware)


def test_an_archive_behind_the_image_is_another_measurement(built: Image, launched: Launched, tmp_path: Path) -> None:
    """The image is in it whole, and what a verifier would measure is not the published launch."""
    published, longer = write_image(built, tmp_path / "published"), launched.image
    assert longer.kernel_sha256 == published.kernel_sha256
    assert longer.initrd.read_bytes().startswith(built.initrd)
    (tmp_path / "ovmf").write_bytes(ovmf())
    assert _measured(longer, tmp_path / "ovmf") != _measured(published, tmp_path / "ovmf")


def _measured(image: ImageFolder, firmware: Path) -> bytes:
    files = LaunchFiles(
        ovmf=firmware, kernel=image.kernel, initrd=image.initrd, append=FIXED[image.variant], vmm="qemu"
    )
    return launch_of(files, cpu_signature=0, guest_features=1).measurement(1)


def test_a_session_on_a_device_with_bad_days(launched: Launched, tmp_path: Path) -> None:
    """What passes is waited for, or told to who asked; then all goes well; then the key is gone, and so is the machine.

    Three participants are outside, one of whose items the machine brought along, and nothing leaves it but two codes.
    """
    require_session(launched, tmp_path)


@pytest.mark.skipif(not EVERY_BOOT, reason=ON_DEMAND)
def test_a_session_on_files_with_bad_days(built: Image, tmp_path: Path) -> None:
    """The same on configfs-tsm, which comes first: also somebody else's write, and reads that give a few bytes each."""
    troubles = (*TROUBLES_OF_FILES, *TROUBLES_OF_A_SESSION, Fail(errno.EBADMSG))
    require_session(launched_with(built, tmp_path / "image", *troubles, files=FILES), tmp_path)


def require_session(launched: Launched, folder: Path) -> None:
    """Demand a whole session of a machine, and that it says nothing but that it was made and how it ended."""
    (folder / "brought").mkdir()
    (folder / "brought" / "records").write_bytes(b"records-b")
    write_payload(folder / "brought", folder / "disk")
    with DeviceMachine(launched.image, launched.firmware, folder=folder, payload=folder / "disk") as machine:
        machine.world = machine_world(machine)
        machine.serving()
        assert told(machine) == "DEVICE_BUSY"
        assert told(machine) == "DEVICE_REFUSED"
        _run_session(machine, folder / "participants")
        assert _asked_on(machine) in {"ATTESTATION_REFUSED", "CONNECTION_LOST"}
        assert machine.wait_ended(PATIENCE_SECONDS) == 0
        assert machine.console().splitlines() == [MADE, "twocvm ENDED_CANNOT_JUDGE"]


def told(machine: DeviceMachine) -> str:
    """Ask a guest for evidence that it cannot make just now, and return the code that it says so with."""
    address = urlsplit(machine.url)
    body = strictjson.canonical({"nonce": strictjson.base64url(bytes(32))})
    fields = ("content-type: application/json", "connection: close")
    asked = request("POST", "/.well-known/2cvm/attest", *fields, body=body)
    with RawClient((str(address.hostname), int(address.port or 0))) as client:
        client.handshake(seconds=PATIENCE_SECONDS).send(asked)
        _, _, problem = client.answer(seconds=PATIENCE_SECONDS).partition(b"\r\n\r\n")
    code: str = json.loads(problem)["code"]
    return code


def _asked_on(machine: DeviceMachine) -> str:
    """Ask for report after report until there are no more, and return the code that says so."""
    try:
        for _ in range(MOST_REPORTS):
            machine.connect("analytics").connection.close()
    except TwoCvmError as error:
        return error.code
    return "none"


def _run_session(machine: DeviceMachine, folder: Path) -> None:
    """Bring a session to its end, and have two of three participants fetch everything: so the machine goes on."""
    everybody = outsiders(machine, folder, "read /in/records-b/data")
    everybody["hospital-a"].lock()
    held = {"hospital-b": {"records-b"}}
    at_once(everybody, lambda side: side.release(held=held.get(side.name, ()), wait_seconds=PATIENCE_SECONDS))
    assert machine.wait_state("completed", "failed") == "completed"
    with machine.connect("hospital-a") as client:
        assert client.log()[0].members["platform"] == "snp"
    for name in ("hospital-a", "hospital-b"):
        with everybody[name].connect() as session:
            for output in machine.world.manifest.outputs_of(name):
                assert session.output(output.name).read()
            receipt = session.receipt()
            receipt.verify()
            assert receipt.body.outcome is Outcome.COMPLETED


@dataclass(frozen=True, slots=True, kw_only=True)
class Beginning:
    """What a guest meets when it begins, and the code that its machine ends with."""

    trouble: Fail | Change
    code: str


@pytest.mark.skipif(not EVERY_BOOT, reason=ON_DEMAND)
@pytest.mark.parametrize(
    "beginning",
    [
        pytest.param(Beginning(trouble=Change(report=one_byte_short), code="NOT_AUTHENTIC"), id="a short report"),
        pytest.param(Beginning(trouble=Change(report=another_request), code="NOT_AUTHENTIC"), id="another request's"),
        pytest.param(Beginning(trouble=Fail(errno.ENOTTY), code="CANNOT_JUDGE"), id="no key"),
        pytest.param(Beginning(trouble=REFUSED, code="CANNOT_JUDGE"), id="a refusal"),
        pytest.param(Beginning(trouble=Change(room=1 << 20), code="CANNOT_JUDGE"), id="a table beyond all bounds"),
    ],
)
def test_a_guest_that_cannot_begin_on_its_device(built: Image, tmp_path: Path, beginning: Beginning) -> None:
    """Whatever a device does first that it must not, the machine ends with its code, and has served nobody."""
    # The first request is for the length of the certificates alone.
    first = () if isinstance(beginning.trouble, Change) and beginning.trouble.room else (None,)
    given = launched_with(built, tmp_path / "image", *first, beginning.trouble)
    with DeviceMachine(given.image, given.firmware, folder=tmp_path) as machine:
        assert machine.wait_ended(PATIENCE_SECONDS) == 0
        assert machine.console().splitlines() == [MADE, f"twocvm ENDED_{beginning.code}"]


@pytest.mark.skipif(not EVERY_BOOT, reason=ON_DEMAND)
def test_production_image_says_only_its_codes(built: Image, tmp_path: Path) -> None:
    """As it is published and without any device a production guest ends, and nothing but two codes has left it."""
    image = write_image(built, tmp_path / "image")
    with Machine(image, hardware(image), log=tmp_path / "log") as machine:
        assert machine.wait_ended(PATIENCE_SECONDS) == 0
        assert machine.console().splitlines() == [MADE, "twocvm ENDED_UNSUPPORTED"]

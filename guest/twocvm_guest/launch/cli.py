"""`twocvm launch`: what a publisher makes once for an image, and what a host is told to launch it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias

import typer

from twocvm_verifier.measure import CPU_TYPES, LaunchFiles, launch_of
from twocvm_verifier.measure_cli import Append, Ovmf, Vcpus
from twocvm_verifier.shell import Form, OutputForm, command_group, file_option, unusable, write_file, write_json

from .id_block import DEFAULT_POLICY, ID_AUTH_BYTES, ID_BYTES, IdBlock, id_auth, key_digest, parse_id_block
from .qemu import HOST_DATA_BYTES, LEAST_MEMORY_MIB, LOOPBACK, MOST_MEMORY_MIB, Identity, Launch, command
from .reference import GUEST_FEATURES, PRODUCTS, Published, reference_document

app = command_group()

_SCHEMA: Final = "twocvm/launch-identity/v1"
_ID_BLOCK, _ID_AUTH = "id-block.bin", "id-auth.bin"

KernelFile: TypeAlias = Annotated[Path, file_option("The kernel.")]
InitrdFile: TypeAlias = Annotated[Path, file_option("The initial file system.")]
IdKey: TypeAlias = Annotated[Path, file_option("The key that signs identity blocks.")]
AuthorKey: TypeAlias = Annotated[Path, file_option("The author's key, which signs the other one.")]
GuestSvn: TypeAlias = Annotated[
    int, typer.Option("--guest-svn", min=0, max=(1 << 32) - 1, help="Security version; never lower than before.")
]
GuestPolicy: TypeAlias = Annotated[
    str, typer.Option("--guest-policy", metavar="NUMBER", help="GUEST_POLICY of the launch.")
]
Cpu: TypeAlias = Annotated[str, typer.Option("--cpu", metavar="TYPE", help="QEMU's CPU type, such as EPYC-Genoa.")]


@app.callback()
def _group() -> None:
    """Make what a guest is launched with."""


@app.command("new-key")
def new_key_command(file: Annotated[Path, typer.Argument(metavar="FILE", help="Where it goes; new.")]) -> None:
    """Make a key for identity blocks: P-384, for its owner's eyes alone.

    Prints the digest by which reports and policies name it.
    """
    from .keys import write_new_key

    try:
        typer.echo(key_digest(write_new_key(file)).hex())
    except OSError as error:
        raise unusable(file, error, option="FILE") from error


@app.command("id-block")
def id_block_command(
    ovmf: Ovmf,
    kernel: KernelFile,
    initrd: InitrdFile,
    id_key: IdKey,
    author_key: AuthorKey,
    guest_svn: GuestSvn,
    cpu: Cpu,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help=f"Where {_ID_BLOCK} and {_ID_AUTH} go.")],
    append: Append = "",
    vcpus: Vcpus = 1,
    family_id: Annotated[str, typer.Option("--family-id", metavar="HEX", help="FAMILY_ID, 16 bytes.")] = "",
    image_id: Annotated[str, typer.Option("--image-id", metavar="HEX", help="IMAGE_ID, 16 bytes.")] = "",
    guest_policy: GuestPolicy = f"{DEFAULT_POLICY:#x}",
    output: Form = OutputForm.TEXT,
) -> None:
    """Sign the identity block of an image: 96 bytes, and 4096 bytes that prove who signed it.

    It holds for one type of CPU and one number of vCPUs.
    """
    from .keys import read_key

    files = LaunchFiles(ovmf=ovmf, kernel=kernel, initrd=initrd, append=append, vmm="qemu")
    with _usage():
        launch = launch_of(files, cpu_signature=_signature(cpu), guest_features=GUEST_FEATURES)
        block = IdBlock(
            measurement=launch.measurement(vcpus),
            guest_svn=guest_svn,
            policy=_number(guest_policy, "--guest-policy"),
            family_id=_bytes(family_id, ID_BYTES, "--family-id"),
            image_id=_bytes(image_id, ID_BYTES, "--image-id"),
        )
        keys = {"id_key": read_key(id_key), "author_key": read_key(author_key)}
        auth = id_auth(block, **keys)
        out.mkdir(parents=True, exist_ok=True)
        _require_no_way_back(out / _ID_BLOCK, guest_svn)
        digests = {f"{name}_digest": key_digest(key.public_key()).hex() for name, key in keys.items()}
    write_file(out / _ID_BLOCK, block.to_bytes(), option="--out")
    write_file(out / _ID_AUTH, auth, option="--out")
    _tell({"measurement": block.measurement.hex(), "guest_svn": guest_svn, **digests}, output)


@app.command("reference")
def reference_command(
    ovmf: Ovmf,
    kernel: KernelFile,
    initrd: InitrdFile,
    name: Annotated[str, typer.Option("--name", help="The image's name.")],
    version: Annotated[str, typer.Option("--version", help="Its version.")],
    append: Append = "",
    guest_svn: Annotated[
        int | None, typer.Option("--guest-svn", min=0, max=(1 << 32) - 1, help="GUEST_SVN, with both keys.")
    ] = None,
    id_key: Annotated[Path | None, file_option("The key that signs identity blocks.")] = None,
    author_key: Annotated[Path | None, file_option("The author's key, which signs the other one.")] = None,
) -> None:
    """Print the document to publish beside an image: its files' digests, and its launch on each kind of chip."""
    from .keys import read_key

    given = {guest_svn is None, id_key is None, author_key is None}
    if len(given) != 1:
        raise typer.BadParameter("--guest-svn, --id-key and --author-key go together", param_hint="--guest-svn")
    files = LaunchFiles(ovmf=ovmf, kernel=kernel, initrd=initrd, append=append, vmm="qemu")
    with _usage():
        published = Published(
            name=name,
            version=version,
            guest_svn=guest_svn,
            id_key_digest=b"" if id_key is None else key_digest(read_key(id_key).public_key()),
            author_key_digest=b"" if author_key is None else key_digest(read_key(author_key).public_key()),
        )
        typer.echo(reference_document(files, published).decode("utf-8"))


@app.command("command")
def command_command(
    ovmf: Ovmf,
    kernel: KernelFile,
    initrd: InitrdFile,
    append: Append,
    cpu: Cpu,
    vcpus: Vcpus = 1,
    memory_mib: Annotated[
        int, typer.Option("--memory-mib", min=LEAST_MEMORY_MIB, max=MOST_MEMORY_MIB, help="Memory in MiB.")
    ] = 4096,
    host_address: Annotated[
        str, typer.Option("--host-address", metavar="IP", help="This host's address for the port; 0.0.0.0: all it has.")
    ] = str(LOOPBACK),
    host_port: Annotated[int, typer.Option("--host-port", min=1, max=65_535, help="This host's port.")] = 8443,
    guest_port: Annotated[int, typer.Option("--guest-port", min=1, max=65_535, help="The guest's port.")] = 8443,
    host_data: Annotated[
        str, typer.Option("--host-data", metavar="HEX", help="A manifest's hash, for a guest that is born locked.")
    ] = "",
    identity: Annotated[
        Path | None, typer.Option("--identity-block", metavar="DIR", help="What `id-block` wrote.")
    ] = None,
    guest_policy: GuestPolicy = f"{DEFAULT_POLICY:#x}",
    payload: Annotated[Path | None, file_option("The disk that `image payload` wrote.")] = None,
) -> None:
    """Print QEMU's command line (10 or later) for a host with SEV-SNP."""
    files = LaunchFiles(ovmf=ovmf, kernel=kernel, initrd=initrd, append=append, vmm="qemu")
    with _usage():
        signature, policy = _signature(cpu), _number(guest_policy, "--guest-policy")
        launch = Launch(
            firmware=ovmf,
            kernel=kernel,
            initrd=initrd,
            append=append,
            cpu=cpu,
            vcpus=vcpus,
            memory_mib=memory_mib,
            host_address=IPv4Address(host_address),
            host_port=host_port,
            guest_port=guest_port,
            policy=policy,
            host_data=_bytes(host_data, HOST_DATA_BYTES, "--host-data"),
            identity=None if identity is None else _identity(identity, files, signature, vcpus=vcpus, policy=policy),
            payload=payload,
        )
        typer.echo(shlex.join(command(launch)))


def _require_no_way_back(before: Path, guest_svn: int) -> None:
    if before.exists() and (had := parse_id_block(before.read_bytes()).guest_svn) > guest_svn:
        raise ValueError(f"--guest-svn: got {guest_svn}, and {str(before)!r} has {had}: it never falls")


def _identity(folder: Path, files: LaunchFiles, cpu_signature: int, *, vcpus: int, policy: int) -> Identity:
    """Return the identity block in a folder, which must be of this launch: a chip would refuse it at its very end."""
    raw, auth = ((folder / name).read_bytes() for name in (_ID_BLOCK, _ID_AUTH))
    block = parse_id_block(raw)
    if len(auth) != ID_AUTH_BYTES:
        raise ValueError(f"{_ID_AUTH}: got {len(auth)} bytes, want {ID_AUTH_BYTES}")
    launch = launch_of(files, cpu_signature=cpu_signature, guest_features=GUEST_FEATURES)
    if block.measurement != launch.measurement(vcpus):
        raise ValueError(
            f"{_ID_BLOCK}: is of another launch: files, command line, type of CPU or number of vCPUs differ"
        )
    if block.policy != policy:
        raise ValueError(f"{_ID_BLOCK}: is of policy {block.policy:#x}, want that of --guest-policy, {policy:#x}")
    return Identity(block=raw, auth=auth)


def _tell(told: dict[str, Any], output: OutputForm) -> None:
    if output is OutputForm.JSON:
        write_json({"schema": _SCHEMA, **told})
        return
    for name, value in told.items():
        typer.echo(f"{name:<18} {value}")


@contextmanager
def _usage() -> Iterator[None]:
    """Make what a person typed or named wrong a usage error."""
    try:
        yield
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    except OSError as error:
        raise typer.BadParameter(f"{str(error.filename)!r}: {error.strerror}") from error


def _signature(cpu: str) -> int:
    if cpu not in CPU_TYPES:
        raise typer.BadParameter(f"want one of {', '.join(PRODUCTS.values())}", param_hint="--cpu")
    return CPU_TYPES[cpu]


def _number(text: str, option: str) -> int:
    try:
        return int(text, 0)
    except ValueError as error:
        raise typer.BadParameter("want a number such as 0x30000", param_hint=option) from error


def _bytes(text: str, width: int, option: str) -> bytes:
    """Return the bytes that hex digits write, or zeros where nothing is written."""
    try:
        value = bytes.fromhex(text) if text else bytes(width)
    except ValueError as error:
        raise typer.BadParameter(f"want {2 * width} hex digits", param_hint=option) from error
    if len(value) != width:
        raise typer.BadParameter(f"got {len(value)} bytes, want {width}", param_hint=option)
    return value

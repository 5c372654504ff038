"""What a component can do that wants more out than a filter lets pass, and what a filter's worker can be made to do."""

from __future__ import annotations

import fcntl
import os
import signal
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from tests.support import processes
from tests.support.actor import isolation, item
from tests.support.filters import MAX_BYTES, code, in_worker, kind_of, left
from tests.support.guest import Client, LiveGuest, ScriptedWorkers, code_of
from tests.support.manifests import Document, World, builtin, noise
from tests.support.memory_files import MemoryFiles

from twocvm_guest.filters.chain import require_filters
from twocvm_guest.filters.worker import FilterLimits, run_builtin
from twocvm_guest.locked import Workers
from twocvm_guest.runtime.items import SEALS, Item, ItemWriter
from twocvm_guest.runtime.live import EndedError, Live
from twocvm_guest.runtime.node import NodeError
from twocvm_verifier.manifest import Manifest, ManifestError, parse_manifest
from twocvm_verifier.manifest.author import canonical_bytes
from twocvm_verifier.receipt import parse_receipt
from twocvm_verifier.receipt_body import ReceiptBody, parse_body

MEBIBYTE = 1 << 20


def test_spelling_carries_nothing() -> None:
    """Tables and JSON that mean the same are the same bytes when they have passed, however they were spelled."""
    rows = kind_of("max_rows", format="csv", max_rows=9)
    spelled = [b"a,b\n1,x\n", b'"a","b"\r\n"1",x', b'a,"b"\n1,"x"\r\n']
    assert {left(rows, output) for output in spelled} == {b"a,b\n1,x\n"}
    model = kind_of("json_schema", format="json", schema={"type": "object"})
    spelled = [b'{"a":0.5,"b":"x"}', b' { "b" : "\\u0078",\n\t"a" : 5.0E-1 } ', b'{"\\u0062":"x","a":0.500}']
    assert {left(model, output) for output in spelled} == {b'{"a":0.5,"b":"x"}'}
    steps = kind_of("rounding", format="csv", columns=["n"], step="0.5")
    spelled = [b"n\n1.5\n", b"n\n1.50\n", b"n\n15e-1\n", b"n\n1.4999999\n", b"n\n0.15E1\n"]
    assert {left(steps, output) for output in spelled} == {b"n\n1.5\n"}


@pytest.mark.parametrize("end", [end for end in map(chr, range(1 << 16)) if len(f"a{end}b".splitlines()) > 1])
def test_a_record_is_one_line_to_every_reader(end: str) -> None:
    """Nothing that any reader takes for the end of a line hides a record within a field from a count of records."""
    rows = kind_of("max_rows", format="csv", max_rows=1)
    hidden = (f"n,x\n1,a{end}2\n", f'n,x\n1,"a{end}2"\n')
    assert {code(rows, output.encode()) for output in hidden} == {"FILTER_MALFORMED"}


def test_lengths_carry_no_more_than_the_sizes() -> None:
    """A thousand lengths come out as two, which are what the manifest agrees to tell."""
    padded = kind_of("padding", sizes=[512, 1024])
    assert {len(left(padded, bytes(count))) for count in range(1000)} == {512, 1024}


def test_noise_comes_from_no_seed() -> None:
    """A component's owner who fixed the seed in the manifest, and so knows it, knows nothing of the noise."""

    def edit(document: Document) -> None:
        document["filters"] = [noise()]
        document["outputs"][0]["filters"] = ["blur"]
        document["rules"]["seed"] = "06" * 32

    world = World(edit=edit)
    output = b"n\n" + b"500\n" * 40
    served = set()
    for _ in range(2):
        with LiveGuest(world, workers=ScriptedWorkers(outputs={"model": output, "evaluation": b"e"})) as guest:
            guest.released().wait_for("completed")
            with guest.connect("analytics") as client:
                served.add(client.get("/v1/outputs/model").content)
    assert len(served | {output}) == 3


def filtering(**outputs: bytes) -> LiveGuest:
    """Return a guest in which a run leaves these outputs, and where `model` passes three filters."""

    def edit(document: Document) -> None:
        document["filters"] = [
            builtin("groups", "min_group_size", format="csv", columns=["n"], minimum=5),
            builtin("steps", "rounding", format="csv", columns=["n"], step="10"),
            builtin("padded", "padding", sizes=[32, 64]),
        ]
        for item_of in document["data"]:
            item_of["must_pass"] = ["groups"]
        document["outputs"][0]["filters"] = ["groups", "steps", "padded"]
        document["outputs"][1]["filters"] = ["groups"]

    return LiveGuest(World(edit=edit), workers=ScriptedWorkers(outputs={"evaluation": b"n\n5\n"} | outputs))


def test_what_is_served_has_passed() -> None:
    """A recipient gets what the filters left, and its receipt names each of them in their order."""
    with filtering(model=b"k,n\na,14\nb,26\n") as guest:
        guest.released().wait_for("completed")
        with guest.connect("analytics") as client:
            content = client.get("/v1/outputs/model").content
            assert content == b"k,n\na,10\nb,30\n\x80".ljust(32, b"\0")
            (output,) = _receipt(client).outputs
            assert (output.filters, output.sealed.size_bytes) == (("groups", "steps", "padded"), 32)
        with guest.connect("hospital-a") as client:
            assert client.get("/v1/outputs/evaluation").content == b"n\n5\n"


@pytest.mark.parametrize("model", [b"n\n14\n4\n", b"n\nmany\n", b"\xff", b"n\n" + b"15\n" * 99, b""])
def test_one_small_group_holds_back_everything(model: bytes) -> None:
    """Whatever a filter refuses, nobody gets any output, nothing is kept, and nobody is told more than `failed`."""
    kept = MemoryFiles()
    with filtering(model=model) as guest:
        guest.released().wait_for("failed")
        # The state can be asked for a moment before what is kept goes.
        processes.wait_until(lambda: kept.names() == [])
        for name, output in (("analytics", "model"), ("hospital-a", "evaluation"), ("hospital-b", "evaluation")):
            with guest.connect(name) as client:
                assert client.get("/v1/session").content == b'{"state":"failed"}'
                assert code_of(client.get(f"/v1/outputs/{output}")) == "SESSION_ENDED"
                assert client.get("/v1/failures").content == b'{"failures":{}}'
                body = _receipt(client)
                assert (body.outcome.value, body.outputs, body.other_outputs) == ("failed", (), ())
                assert b"FILTER" not in body.payload() + client.get("/v1/log").content


def test_only_whose_data_it_is_hears_why() -> None:
    """Where all data that reaches an output is one participant's, that one alone is told which filter refused."""

    def edit(document: Document) -> None:
        document["filters"] = [builtin("groups", "min_group_size", format="csv", columns=["n"], minimum=5)]
        document["outputs"][0]["filters"] = ["groups"]
        for each in document["data"]:
            each["owner"] = "hospital-b"

    workers = ScriptedWorkers(outputs={"model": b"n\n4\n", "evaluation": b"e"})
    with LiveGuest(World(edit=edit), workers=workers) as guest:
        guest.released().wait_for("failed")
        with guest.connect("hospital-b") as client:
            assert client.get("/v1/failures").json() == {"failures": {"model/groups": "FILTER_GROUP"}}
        for name in ("analytics", "hospital-a"):
            with guest.connect(name) as client:
                assert client.get("/v1/failures").json() == {"failures": {}}


def test_a_filter_cannot_be_left_out() -> None:
    """An output more, a filter less, or the same filter under another's name: the owner's must_pass refuses each."""

    def valid(document: Document) -> None:
        document["filters"] = [
            builtin("small", "max_bytes", max_bytes=10),
            builtin("smaii", "max_bytes", "analytics", max_bytes=4096),
        ]
        document["data"][0]["must_pass"] = ["small"]
        for output in document["outputs"]:
            output["filters"] = ["small"]

    def one_more(document: Document) -> None:
        document["outputs"].append(
            {"name": "more", "from": "component:step-0.more", "recipients": ["analytics"], "max_bytes": 9}
        )

    def one_less(document: Document) -> None:
        del document["outputs"][1]["filters"]

    def another(document: Document) -> None:
        document["outputs"][0]["filters"] = ["smaii"]

    parse_manifest(World(edit=valid).raw)
    for attack in (one_more, one_less, another):
        document = World(edit=valid).document
        attack(document)
        with pytest.raises(ManifestError) as refusal:
            parse_manifest(canonical_bytes(document))
        assert {str(problem.rule) for problem in refusal.value.problems} == {"must-pass"}


def test_a_guest_without_a_filter_does_not_lock() -> None:
    """A guest that cannot add noise refuses the manifest that asks for it, and says which extra it needs."""

    def edit(document: Document) -> None:
        document["filters"] = [noise()]
        document["outputs"][0]["filters"] = ["blur"]

    def start(manifest: Manifest) -> Workers:
        require_filters(manifest, has=lambda name: name != "opendp")
        return ScriptedWorkers().start(manifest)

    with LiveGuest(World(edit=edit), start_workers=start) as guest, guest.connect(unlocked_ok=True) as client:
        answer = client.put_manifest()
        assert (code_of(answer), answer.status_code) == ("UNSUPPORTED_FILTER", 422)
        assert client.state() == "unlocked"


@contextmanager
def at_work() -> Iterator[tuple[Live, list[BaseException]]]:
    """A filter at work on a large output, with the processes that do it, and how it ended."""
    # Asked for first, for asking takes a worker too.
    expected = 2 if "pid-namespace" in isolation().promised else 1
    live, ends = Live(), list[BaseException]()
    kind = kind_of("rounding", format="csv", columns=["n"], step="1")

    def work() -> None:
        with closing(item("output", b"n\n" + b"1.5\n" * 4_000_000)) as source:
            limits = FilterLimits(seconds=100, memory_bytes=1 << 30, max_bytes=MAX_BYTES)
            try:
                run_builtin(kind, source, limits=limits, live=live, isolation=isolation()).close()
            except (NodeError, EndedError) as error:
                ends.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    processes.wait_until(lambda: len(processes.descendants()) == expected and _filters(processes.descendants()[-1]) > 1)
    try:
        yield live, ends
    finally:
        live.end()
        thread.join(20)
        assert not thread.is_alive()
        assert processes.descendants() == []


def test_a_filters_worker_is_kept_in_like_any_other() -> None:
    """A worker that reads an output has no rights, no network and no files but its own empty folders."""
    if os.geteuid() != 0 or isolation().missing:
        pytest.skip("only root may look into a worker, and only where a machine gives everything")
    with at_work():
        worker = processes.descendants()[-1]
        status = processes.status(worker)
        assert {status[name] for name in ("CapPrm", "CapEff", "CapBnd", "CapInh")} == {"0" * 16}
        assert status["NoNewPrivs"] == "1"
        assert "0" not in status["Uid"].split()
        assert sorted(os.listdir(f"/proc/{worker}/root")) == ["in", "out"]
        assert [os.listdir(f"/proc/{worker}/root/{folder}") for folder in ("in", "out")] == [[], []]
        held = [target for target in processes.descriptors(worker).values() if target.startswith("/memfd:")]
        assert len(held) == 3


def test_what_a_filters_worker_left_cannot_be_changed() -> None:
    """The memory file that a worker wrote to is sealed, as every other item is, before anybody gets it."""
    kind = kind_of("max_rows", format="csv", max_rows=9)
    with closing(item("model", b"n\n1\n")) as source:
        limits = FilterLimits.of(source, max_bytes=MAX_BYTES)
        with closing(run_builtin(kind, source, limits=limits, live=Live(), isolation=isolation())) as kept:
            assert fcntl.fcntl(kept.fd, fcntl.F_GET_SEALS) & SEALS == SEALS


def test_a_filters_worker_that_is_killed_is_a_refusal() -> None:
    """Whoever ends a filter's worker lets nothing through."""
    with at_work() as (_, ends):
        os.kill(processes.descendants()[-1], signal.SIGKILL)
        processes.wait_until(lambda: ends)
    (end,) = ends
    assert isinstance(end, NodeError)
    assert end.code == "NODE_DIED"


def test_a_wipe_ends_a_filters_worker() -> None:
    """The end of the session ends a filter in the middle of an output, and nothing of it is left."""
    kept = MemoryFiles()
    with at_work() as (live, ends):
        live.end()
        processes.wait_until(lambda: ends)
    processes.wait_until(lambda: kept.names() == [])


def test_outputs_of_any_size_take_nothing_of_the_supervisor() -> None:
    """While a filter works on 64 MiB, this process holds buffers of fixed size and no output."""
    kind = kind_of("padding", sizes=[128 * MEBIBYTE])
    output = bytes(MEBIBYTE)
    with closing(_large(output, 64)) as source:
        limits = FilterLimits(seconds=100, memory_bytes=1 << 30, max_bytes=MAX_BYTES)
        tracemalloc.start()
        try:
            result = run_builtin(kind, source, limits=limits, live=Live(), isolation=isolation())
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    with closing(result):
        assert result.size_bytes == 128 * MEBIBYTE
    assert peak < 4 * MEBIBYTE


@pytest.mark.parametrize(
    "output",
    [b"[" * 100_000, b'{"a":' * 100_000, b"[" + b"[]," * 500_000 + b"[]]", b"9" * 1_000_000, b'"' + b"\\" * 999_999],
    ids=["brackets", "objects", "lists", "digits", "backslashes"],
)
def test_bombs_are_refused_in_time(output: bytes) -> None:
    """JSON that is made to take time or depth is refused by a worker, or passes, well within a filter's time."""
    kind = kind_of("json_schema", format="json", schema={"type": "object"})
    with pytest.raises(NodeError) as refusal:
        in_worker(kind, output, seconds=30)
    assert refusal.value.code in {"FILTER_MALFORMED", "FILTER_SCHEMA"}


def _filters(worker: int) -> int:
    """Return how many system-call filters a worker has; the second one comes right before its work."""
    return int(processes.status(worker).get("Seccomp_filters", "0"))


def _large(piece: bytes, count: int) -> Item:
    writer = ItemWriter("output", max_bytes=len(piece) * count)
    for _ in range(count):
        writer.write(piece)
    return writer.seal()


def _receipt(client: Client) -> ReceiptBody:
    return parse_body(parse_receipt(client.get("/v1/receipt").content).envelope.payload)

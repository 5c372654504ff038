"""What a run tells: a component tries every way to say something to somebody who may not hear it.

Each signal is a session of its own on a live guest, with real workers and several participants. What a participant is
shown of it, on every route it may call, is compared with what it is shown of a session that failed plainly: were there
any difference, a component could say one thing or another by it.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

import pytest
import requests
from tests.support.actor import ACTOR, RUN, isolation, wat
from tests.support.guest import LiveGuest, code_of
from tests.support.guest_process import acting_world
from tests.support.manifests import MEASUREMENT, Document, World, builtin

from twocvm_guest.runtime.supervisor import Runtime

NODE, OWNER, OTHER, LAST = "step-0", "hospital-a", "hospital-b", "analytics"
# What a component would have somebody read.
WORD = "psst-the-patient-is-alice"
# But for the manifest, which all of them signed.
ROUTES = ("session", "roster", "log", "failures", "outputs/model", "outputs/evaluation")


@dataclass(frozen=True, kw_only=True)
class Signal:
    """One way to say something, and the code that its node fails with."""

    code: str
    commands: tuple[str, ...] = ()
    wasm: bytes = ACTOR
    limits: Mapping[str, int] = field(default_factory=dict)
    filter_bytes: int = 0

    @property
    def failures(self) -> dict[str, str]:
        """What the guest keeps of the failure: by node, or by filter where there is one."""
        return {"model/small" if self.filter_bytes else NODE: self.code}


def shouting(body: str, more: str = "") -> bytes:
    """A component whose names, sections and strings all hold the word, and whose `run` has this body."""
    named = wat(f"""(component
        (core module $main {more}
            (@custom "{WORD}" "{WORD}")
            (memory (export "{WORD}") 1) (data (i32.const 0) "{WORD}")
            (func $inner (@name "{WORD}\\n\\nCaused by:\\n    1: {WORD}") {body})
            (func (export "run") (result i32) call $inner i32.const 0))
        (core instance $i (instantiate $main))
        (func $run (result (result)) (canon lift (core func $i "run")))
        (instance $interface (export "run" (func $run)))
        (export "{RUN}" (instance $interface)))""")
    section = bytes([len(WORD)]) + WORD.encode() * 2
    return named + b"\0" + bytes([len(section)]) + section


SIGNALS = {
    "unreachable": Signal(code="NODE_TRAPPED", commands=("trap",)),
    "a wrong address": Signal(code="NODE_TRAPPED", commands=("outside",)),
    "deep calls": Signal(code="NODE_STACK", commands=("recurse",)),
    "memory": Signal(code="NODE_MEMORY", commands=("grow 1000000",)),
    "an exit status": Signal(code="NODE_EXIT", commands=("exit 3",)),
    "waiting": Signal(code="NODE_TRAPPED", commands=("sleep 1000000",)),
    "time": Signal(code="NODE_TIME", commands=("loop",), limits={"wall_seconds": 1}),
    "fuel": Signal(code="NODE_FUEL", commands=("loop",), limits={"fuel": 10_000_000}),
    "standard output": Signal(code="NODE_TRAPPED", commands=("stdout 2000000", "trap")),
    "the size of an output": Signal(code="OUTPUT_TOO_LARGE", commands=("write /out/report/data 9999999",)),
    "a file's name": Signal(code="OUTPUT_UNEXPECTED", commands=(f"write /out/report/{WORD} 10",)),
    "a folder": Signal(code="OUTPUT_UNEXPECTED", commands=(f"mkdir /out/report/{WORD}",)),
    "many small files": Signal(code="OUTPUT_UNEXPECTED", commands=("files /out/report 2",)),
    "no output": Signal(code="OUTPUT_MISSING", commands=("unlink /out/report/data",)),
    "a filter's refusal": Signal(code="FILTER_TOO_LARGE", commands=("list /in",), filter_bytes=1),
    "names in a trap": Signal(code="NODE_TRAPPED", wasm=shouting("unreachable")),
    "a division by zero": Signal(code="NODE_TRAPPED", wasm=shouting("i32.const 1 i32.const 0 i32.div_u drop")),
    "an empty table": Signal(
        code="NODE_TRAPPED",
        wasm=shouting("i32.const 0 call_indirect (type $t)", "(type $t (func)) (table 1 funcref)"),
    ),
    "names of a deep call": Signal(code="NODE_STACK", wasm=shouting("call $inner")),
}


def world_of(signal: Signal, *, items: int = 2) -> World:
    """Two hospitals with data (or one, where `items` is 1), and a company whose component is the signal."""
    world = acting_world(MEASUREMENT, commands=signal.commands, items=items)
    edit = world._edit
    world._files[NODE] = signal.wasm

    def edited(document: Document) -> None:
        assert edit is not None
        edit(document)
        (component,) = document["components"]
        component["limits"] |= signal.limits
        if signal.filter_bytes:
            document["filters"] = [builtin("small", "max_bytes", max_bytes=signal.filter_bytes)]
            next(output for output in document["outputs"] if output["name"] == "model")["filters"] = ["small"]
        if signal.wasm is not ACTOR:
            del component["imports"]

    world._edit = edited
    return world


def live(world: World) -> LiveGuest:
    """A guest with real workers."""
    return LiveGuest(world, start_workers=partial(Runtime, isolation=isolation()))


def told(guest: LiveGuest) -> dict[str, dict[str, Any]]:
    """Everything that each participant is told, less what differs from launch to launch: digests, keys and dates.

    Ends the guest, for at the end everybody has a receipt.
    """
    shown = {name: routes(guest, name) for name in guest.world.names}
    for name in guest.world.names:
        with guest.connect(name) as client:
            receipt = client.get("/v1/receipt")
            statement = base64.b64decode(receipt.json()["receipt"]["payload"])
            shown[name] |= {"receipt": heard(receipt), "statement": plain(statement)}
    return shown


def routes(guest: LiveGuest, name: str) -> dict[str, Any]:
    """What a participant is told on every route but that of the receipt."""
    own = next((item.name for item in guest.world.manifest.data if item.owner == name), NODE)
    early = guest.world.manifest.not_before
    with guest.connect(name) as client:
        shown = {route: heard(client.get(f"/v1/{route}")) for route in ROUTES}
        shown["go"] = heard(client.send("POST", "/v1/join", client.go(at=early).to_json()))
        shown["withdraw"] = heard(client.withdraw())
        shown["ack"] = heard(client.send("POST", "/v1/outputs/evaluation/ack", {}))
        shown["upload"] = heard(client.upload(own))
    return shown


def heard(answer: requests.Response) -> tuple[int, dict[str, str], str]:
    """Status, headers and body of an answer; fails where a component's words or the engine's are in it."""
    assert not re.search(rb"psst|alice|wasm|Caused by|Traceback|/out/", decoded(answer.content))
    headers = {name.lower(): plain(value.encode()) for name, value in answer.headers.items()}
    # Whether an upload was there before it was refused, which its sender decides.
    headers.pop("connection", None)
    return answer.status_code, headers, plain(answer.content)


def decoded(content: bytes) -> bytes:
    """The content, and after it everything in it that is base64."""
    return content + b"".join(
        base64.urlsafe_b64decode(found.translate(bytes.maketrans(b"+/", b"-_")) + b"==")
        for found in re.findall(rb"[A-Za-z0-9+/_-]{40,}", content)
    )


def plain(content: bytes) -> str:
    """The content with every digest, key, signature and number of this launch replaced by its length."""
    text = content.decode("utf-8", errors="replace")
    return re.sub(r"[A-Za-z0-9+/=_-]{32,}", lambda found: f"<{len(found[0])}>", text)


@cache
def of_a_plain_failure(items: int) -> dict[str, dict[str, Any]]:
    """What everybody is told of the session that every other is compared with."""
    with live(world_of(SIGNALS["unreachable"], items=items)) as guest:
        guest.released().wait_for("failed")
        return told(guest)


@pytest.mark.parametrize("way", SIGNALS)
def test_no_signal_reaches_who_is_not_entitled(way: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Whatever a component does to say something, everybody is told that the session failed, alike to the byte.

    The data of two hospitals reaches the node, so nobody is entitled to more.
    """
    with live(world_of(SIGNALS[way])) as guest:
        guest.released()
        assert guest.wait_for("failed", "completed") == "failed"
        # That the node did fail in its own way, which nobody sees from outside.
        assert dict(guest.guest.agent._locked._failures) == SIGNALS[way].failures  # type: ignore[union-attr]
        seen = told(guest)
    assert seen == of_a_plain_failure(2)
    assert {view["failures"][2] for view in seen.values()} == {'{"failures":{}}'}
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("way", ["fuel", "names in a trap", "a file's name"])
def test_who_owns_all_data_is_told_the_kind_of_a_failure(way: str) -> None:
    """Who alone has data that reaches a node reads the code of its failure; the component's own author does not."""
    with live(world_of(SIGNALS[way], items=1)) as guest:
        guest.released()
        assert guest.wait_for("failed", "completed") == "failed"
        seen = told(guest)
    answers = {name: view["failures"][2] for name, view in seen.items()}
    assert answers == {
        OWNER: f'{{"failures":{{"{NODE}":"{SIGNALS[way].code}"}}}}',
        OTHER: '{"failures":{}}',
        LAST: '{"failures":{}}',
    }
    for name in (OTHER, LAST):
        assert seen[name] == of_a_plain_failure(1)[name]


def test_a_run_that_ends_well_says_nothing_beside_its_outputs(capfd: pytest.CaptureFixture[str]) -> None:
    """What a component prints, and the length and digest of another's output, change nothing of what one is told."""
    seen = []
    for commands in (("list /in",), ("stdout 1000000", f"read {WORD}", "list /in", "list /out")):
        with live(world_of(Signal(code="", commands=commands))) as guest:
            guest.released()
            assert guest.wait_for("failed", "completed") == "completed"
            with guest.connect(OWNER) as client:
                assert code_of(client.get("/v1/outputs/model")) == "NOT_YOURS"
            seen.append({route: answer for route, answer in routes(guest, OWNER).items() if route != "ack"})
    assert seen[0] == seen[1]
    assert capfd.readouterr() == ("", "")


def test_a_component_that_is_refused_says_nothing_to_the_others(capfd: pytest.CaptureFixture[str]) -> None:
    """The refusal of a component that is full of words goes to its owner, by its code; nobody else sees a change."""
    world = world_of(Signal(code="", wasm=wat(f'(component (import "psst:the/{WORD}@1.0.0" (instance)))')))
    with live(world) as guest:
        guest.collecting()
        with guest.connect(OTHER) as other, guest.connect(LAST) as owner:
            log, state = other.get("/v1/log").content, other.get("/v1/session").content
            assert "COMPONENT_IMPORTS" in heard(owner.upload(NODE))[2]
            assert (other.get("/v1/log").content, other.get("/v1/session").content) == (log, state)
    assert capfd.readouterr() == ("", "")

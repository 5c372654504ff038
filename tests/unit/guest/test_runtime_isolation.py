"""What the probe reports, here and where the machine gives less; and that runs still work there."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from tests.support import processes
from tests.support.actor import act, isolation
from tests.support.restricted import said

from twocvm_guest.doctor import examine
from twocvm_guest.runtime import process
from twocvm_guest.runtime.features import Feature
from twocvm_guest.runtime.isolation import FeatureReport, IsolationReport, new_uid, probe
from twocvm_guest.runtime.scratch import scratch_folder
from twocvm_verifier.errors import UnsupportedError

NAMESPACES = {f"{kind}-namespace" for kind in ("user", "pid", "ipc", "mount", "network", "uts", "cgroup")}
TRY = """
    import json
    from tests.support.actor import act, isolation
    ran = act("read /in/script/data", "append /in/script/data", "mkdir /out/more", "times /out/report/data")
    fails = [act(command).failure for command in ("trap", "write /out/report/data 999999", "mkdir /out/report/more")]
    missing = {feature.name: feature.reason for feature in isolation().missing}
    print(json.dumps({"missing": missing, "failure": ran.failure, "fails": fails,
                      "told": {name: ran.told(name) for name in ("append", "mkdir", "times")}}))
"""


def test_the_probe_names_every_feature() -> None:
    """Every feature stands in the report once, in the order of the list, with a reason exactly where it is missing."""
    report = isolation()
    assert [feature.name for feature in report.features] == [feature.value for feature in Feature]
    assert all(bool(feature.reason) is not feature.available for feature in report.features)
    assert report.complete is (not report.missing)
    assert Feature.NO_SWAP.value not in report.promised


@pytest.mark.parametrize(
    ("name", "flag"),
    [
        # linux/sched.h
        ("user-namespace", 0x1000_0000),
        ("pid-namespace", 0x2000_0000),
        ("ipc-namespace", 0x0800_0000),
        ("mount-namespace", 0x0002_0000),
        ("network-namespace", 0x4000_0000),
        ("uts-namespace", 0x0400_0000),
        ("cgroup-namespace", 0x0200_0000),
    ],
)
def test_what_the_kernel_gives_is_taken(name: str, flag: int) -> None:
    """A namespace that a process like the supervisor can have is one that every worker has."""
    ask = "import ctypes, sys; sys.exit(ctypes.CDLL(None).unshare(int(sys.argv[1])) != 0)"
    asked = [subprocess.run([sys.executable, "-c", ask, str(bits)], check=False) for bits in (flag, flag | 0x1000_0000)]
    given = any(answer.returncode == 0 for answer in asked)
    assert (name in isolation().promised) >= given


def test_what_every_kernel_gives_is_taken() -> None:
    """What needs neither privileges nor a setting of the machine, no worker is without."""
    always = {"no-new-privileges", "no-capabilities", "not-dumpable", "descriptors-closed", "resource-limits"}
    assert always <= set(isolation().promised)


def test_a_report_that_lacks_something_says_so() -> None:
    """What is missing is not promised, and a worker without mounts of its own needs a folder."""
    report = IsolationReport(
        features=(
            FeatureReport(name="own-folders", available=False, reason="there is no mount namespace"),
            FeatureReport(name="no-new-privileges", available=True, reason=""),
        )
    )
    assert not report.complete
    assert [feature.name for feature in report.missing] == ["own-folders"]
    assert report.promised == ("no-new-privileges",)
    assert not report.has_folders


@pytest.mark.parametrize("boot", ["import sys; sys.exit(0)", "raise SystemExit(3)"])
def test_nothing_is_promised_of_workers_that_do_not_start(monkeypatch: pytest.MonkeyPatch, boot: str) -> None:
    """Where the worker that is to find out does not come to its end, there is no report, and the doctor says why."""
    monkeypatch.setattr(process, "_BOOT", boot)
    with pytest.raises(UnsupportedError) as refused:
        probe()
    assert refused.value.code == "ISOLATION_UNKNOWN"
    found = {finding.name: finding for finding in examine()}["isolation"]
    assert not found.works
    assert "no guest starts here" in found.advice


def test_everything_can_be_demanded() -> None:
    """A machine that lacks something is refused where all is demanded, by everything that it lacks, and else taken."""
    given = FeatureReport(name="own-folders", available=True, reason="")
    lacking = [FeatureReport(name=name, available=False, reason=f"no {name} here") for name in ("own-uid", "no-swap")]
    IsolationReport(features=(given,)).require_complete()
    with pytest.raises(UnsupportedError) as refused:
        IsolationReport(features=(given, *lacking)).require_complete()
    assert refused.value.code == "ISOLATION_INCOMPLETE"
    assert "own-uid (no own-uid here); no-swap (no no-swap here)" in refused.value.detail


def test_a_guest_that_demands_everything_does_not_start_without() -> None:
    """`guest serve --require-isolation` ends with 20 where something is missing, before it listens."""
    ended = said(
        "no-namespaces",
        """
        import json, subprocess, sys
        words = ["guest", "serve", "--platform", "simulated", "--listen", "127.0.0.1:0", "--require-isolation"]
        code = "from twocvm_guest.main import main; main()"
        ended = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
        print(json.dumps([ended.returncode, ended.stdout, ended.stderr]))
        """,
    )
    assert ended[:2] == [20, ""]
    assert "ISOLATION_INCOMPLETE" in ended[2]
    assert "own-folders (there is no mount namespace)" in ended[2]


def test_without_privileges_only_the_identity_is_missing() -> None:
    """Run by an ordinary user, workers have everything but an identity of their own, and components run as ever."""
    found = said("unprivileged", TRY)
    assert found["missing"].pop("own-uid") == "the guest does not run as root"
    # Where the machine itself gives less, an ordinary user has no more.
    assert not found["missing"] or isolation().missing
    assert_runs(found)


def test_without_namespaces_everything_else_still_holds() -> None:
    """Where the kernel gives no namespace, each is reported with its reason; limits, filter and ports still hold."""
    found = said("no-namespaces", TRY)
    assert set(found["missing"]) == {*NAMESPACES, "own-uid", "own-folders"}
    assert found["missing"]["mount-namespace"] == "the machine's limit on namespaces (/proc/sys/user) is reached"
    assert found["missing"]["own-folders"] == "there is no mount namespace"
    assert_runs(found)


def assert_runs(found: dict[str, object]) -> None:
    """The actor of TRY ran, was refused what it may not do, and its failures had their codes."""
    assert found["failure"] == ""
    told = found["told"]
    assert isinstance(told, dict)
    assert told.pop("times") == "0.000000000 0.000000000 0.000000000"
    assert "ok" not in told.values()
    assert found["fails"] == ["NODE_TRAPPED", "OUTPUT_TOO_LARGE", "OUTPUT_UNEXPECTED"]


def test_nothing_is_left_where_a_folder_was_needed() -> None:
    """The scratch folder of a machine without mount namespaces is private, and gone when the worker is."""
    left = said(
        "no-namespaces",
        """
        import json, os
        from tests.support import processes
        from tests.support.actor import act
        before = set(os.listdir("/dev/shm"))
        act("list /in"); act("mkdir /out/report/data"); act("trap")
        # Other tests of the same run have folders here too, which go when they end; what was left behind stays.
        new = set(os.listdir("/dev/shm")) - before
        processes.wait_until(lambda: not new & set(os.listdir("/dev/shm")), seconds=20)
        print(json.dumps("gone"))
        """,
    )
    assert left == "gone"


def test_a_scratch_folder_goes_with_who_made_it() -> None:
    """A process that is killed while a worker's folder is in use leaves no folder: somebody waits for that."""
    code = """
        import os, time
        from twocvm_guest.runtime.scratch import scratch_folder
        with scratch_folder(os.geteuid()) as folder:
            os.mkdir(f"{folder}/in", 0o500)
            print(folder, flush=True)
            time.sleep(60)
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().decode().strip())
        assert folder.is_dir()
        process.kill()
    processes.wait_until(lambda: not folder.exists())


def test_a_scratch_folder_goes_with_all_that_is_in_it() -> None:
    """A scratch folder is 0700 while it lives, and read-only folders in it do not keep it alive."""
    with scratch_folder(new_uid()) as name:
        folder = Path(name)
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "in" / "port").mkdir(parents=True)
        (folder / "in" / "port" / "data").write_bytes(b"secret")
        (folder / "in" / "port").chmod(0o555)
        (folder / "in").chmod(0o555)
    assert not folder.exists()


def test_promises_are_kept_by_every_worker() -> None:
    """A run under a report that promises everything of this machine completes: each worker had all of it."""
    assert act("list /in").failure == ""

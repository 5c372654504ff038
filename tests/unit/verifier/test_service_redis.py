"""What was answered, in a real Redis: one winner however many race, and nothing that was forgotten is taken for new."""

from __future__ import annotations

import os
import secrets
import socket
import threading
import time
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from tests.support.redis_server import RedisServer, redis_server
from tests.support.service_process import self_signed

from twocvm_verifier.clock import SystemClock
from twocvm_verifier.errors import TwoCvmError
from twocvm_verifier.service import assembly
from twocvm_verifier.service.problems import ServiceError
from twocvm_verifier.service.settings import State
from twocvm_verifier.service.state.protocol import SessionState, Told
from twocvm_verifier.service.state.redis import PAUSE_SECONDS, RedisAnswers, RedisPlace, connect
from twocvm_verifier.service.state.sealed import Sessions

NONCE = b"n" * 32


@pytest.fixture(scope="module")
def redis(tmp_path_factory):
    """One server for the tests that leave it as it is."""
    with redis_server(tmp_path_factory.mktemp("redis"), "--save", "") as server:
        yield server


def replica(server: RedisServer, **changes) -> Sessions:
    """Return the sessions of a service of its own, which shares nothing but the server."""
    given = {
        "client": connect(server.place()),
        "clock": SystemClock(),
        "session_seconds": 150,
        "random_bytes": secrets.token_bytes,
    }
    return Sessions(answers=RedisAnswers(**given | changes), random_bytes=secrets.token_bytes)


class HandClock(SystemClock):
    """A clock that a test moves."""

    seconds = 0.0

    def monotonic_seconds(self) -> float:
        """Return what was put in."""
        return self.seconds


def code_of(ask, *arguments) -> str:
    """Return the code of a refusal."""
    with pytest.raises(TwoCvmError) as refused:
        ask(*arguments)
    return refused.value.code


def test_any_replica_answers_any_request(redis):
    """Made on one, answered on another, read on a third, deleted on a fourth."""
    one, two, three, four = (replica(redis) for _ in range(4))
    made = one.open(NONCE, drawn=True)
    assert two.get(made.identifier) == made
    taken = two.begin(made.identifier)
    assert three.get(made.identifier).state is SessionState.PROCESSING
    two.finish(replace(taken, state=SessionState.COMPLETE, result="token"))
    read = three.get(made.identifier)
    assert (read.state, read.result, read.nonce) == (SessionState.COMPLETE, "token", NONCE)
    assert code_of(one.begin, made.identifier) == "SESSION_SPENT"
    four.delete(made.identifier)
    for each in (one, two, three, four):
        for ask in (each.get, each.begin, each.delete):
            assert code_of(ask, made.identifier) == "SESSION_UNKNOWN"


def test_a_session_that_failed_stays_spent(redis):
    """It says so, has no result, and nobody answers it again."""
    one = replica(redis)
    taken = one.begin(one.open(NONCE, drawn=True).identifier)
    one.finish(replace(taken, state=SessionState.FAILED))
    assert one.get(taken.identifier).state is SessionState.FAILED
    assert code_of(one.begin, taken.identifier) == "SESSION_SPENT"


def test_what_was_deleted_meanwhile_is_not_brought_back(redis):
    """What came of it is forgotten with it, and a session that nobody answered can be deleted too."""
    one = replica(redis)
    taken = one.begin(one.open(NONCE, drawn=True).identifier)
    one.delete(taken.identifier)
    one.finish(replace(taken, state=SessionState.COMPLETE, result="token"))
    assert code_of(one.get, taken.identifier) == "SESSION_UNKNOWN"
    waiting = one.open(NONCE, drawn=True)
    one.delete(waiting.identifier)
    assert code_of(one.begin, waiting.identifier) == "SESSION_UNKNOWN"


def test_one_winner_however_many_race(redis):
    """Many threads of several replicas, many nonces: each is taken once."""
    replicas = [replica(redis) for _ in range(3)]
    for _ in range(30):
        identifier = replicas[0].open(NONCE, drawn=True).identifier
        start, ends = threading.Barrier(12), []

        def race(sessions, identifier=identifier, start=start, ends=ends):
            start.wait(10)
            try:
                ends.append(sessions.begin(identifier).state.value)
            except ServiceError as error:
                ends.append(error.code)

        threads = [threading.Thread(target=race, args=(replicas[each % 3],)) for each in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert Counter(ends) == {"processing": 1, "SESSION_SPENT": 11}


def test_an_attempt_whose_answer_was_lost_is_the_same_attempt(redis):
    """The client asks again by itself, and finds its own mark; another attempt does not."""
    marks = iter([b"s" * 32, b"a" * 16, b"a" * 16, b"b" * 16])
    answers = replica(redis, random_bytes=lambda _: next(marks)).answers
    epoch, until = answers.moment().epoch, datetime.now(UTC) + timedelta(seconds=60)
    name = os.urandom(16)
    for _ in range(2):
        answers.take(name, expires_at=until, epoch=epoch)
    assert code_of(lambda: answers.take(name, expires_at=until, epoch=epoch)) == "SESSION_SPENT"


def test_the_servers_clock_ends_a_session(redis):
    """What is over is unknown when it is taken, whatever was the time when it was opened."""
    answers = replica(redis).answers
    moment = answers.moment()
    assert abs(moment.at - datetime.now(UTC)) < timedelta(seconds=5)
    ask = lambda: answers.take(b"n" * 16, expires_at=moment.at - timedelta(seconds=1), epoch=moment.epoch)  # noqa: E731
    assert code_of(ask) == "SESSION_UNKNOWN"


def test_a_start_between_two_questions_is_noticed(redis):
    """What was sealed with is asked in the step that takes; each start of a server has its own, copies and all."""
    answers = replica(redis).answers
    moment = answers.moment()
    with redis.client() as client:
        started = client.info("server")["run_id"].encode()
    assert started in moment.epoch
    # As it was before the server came back from a copy in which nothing was answered.
    before = moment.epoch.replace(started, b"0" * len(started))
    name, until = os.urandom(16), moment.at + timedelta(seconds=60)
    for ask in (
        lambda: answers.take(name, expires_at=until, epoch=before),
        lambda: answers.told(name, epoch=before),
        lambda: answers.finish(name, Told(state=SessionState.FAILED), epoch=before),
        lambda: answers.forget(name, epoch=before),
    ):
        assert code_of(ask) == "SESSION_UNKNOWN"
    answers.take(name, expires_at=until, epoch=moment.epoch)


def test_the_server_forgets_by_itself(redis):
    """Everything but the secret has an end, which is after that of any session."""
    one = replica(redis)
    one.begin(one.open(NONCE, drawn=True).identifier)
    with redis.client() as client:
        left = [client.ttl(key) for key in client.keys("{2cvm}:answered:*")]
    assert left
    assert all(150 < seconds <= 300 for seconds in left)


@pytest.mark.parametrize("kill", [False, True])
def test_a_server_that_starts_again(tmp_path, kill):
    """It is reached again without help; meanwhile nothing is taken; and what may have been forgotten is unknown."""
    with redis_server(tmp_path, "--save", "3600 1") as server:
        one, two = replica(server), replica(server)
        answered, waiting = one.open(NONCE, drawn=True).identifier, one.open(NONCE, drawn=True).identifier
        with server.client() as client:
            # A copy from before the answer: the server comes back with it.
            client.save()
        one.begin(answered)
        server.stop(kill=kill)
        for sessions in (one, two):
            assert (
                code_of(lambda sessions=sessions: sessions.open(NONCE, drawn=True))
                == code_of(sessions.begin, waiting)
                == "STATE_UNREACHABLE"
            )
            assert code_of(sessions.get, answered) == "STATE_UNREACHABLE"
        server.start()
        time.sleep(PAUSE_SECONDS)
        for sessions in (one, two):
            assert code_of(sessions.begin, answered) == code_of(sessions.begin, waiting) == "SESSION_UNKNOWN"
        assert two.begin(one.open(NONCE, drawn=True).identifier).state is SessionState.PROCESSING


def test_a_server_that_is_emptied(tmp_path):
    """Who emptied it cannot have a nonce taken twice."""
    with redis_server(tmp_path, "--save", "") as server:
        one = replica(server)
        answered = one.open(NONCE, drawn=True).identifier
        taken = one.begin(answered)
        epoch = one.answers.moment().epoch
        with server.client() as client:
            client.flushall()
        with pytest.raises(ServiceError) as unknown:
            one.answers.take(os.urandom(16), expires_at=taken.expires_at, epoch=epoch)
        assert unknown.value.code == "SESSION_UNKNOWN"
        assert code_of(one.begin, answered) == "SESSION_UNKNOWN"


def test_a_server_that_takes_over_again(tmp_path_factory):
    """One that was replaced and lost what it knew, and then is in charge once more, is not the one from before."""
    folders = [tmp_path_factory.mktemp(name) for name in ("first", "second")]
    with redis_server(folders[0], "--save", "") as first, redis_server(folders[1], "--save", "") as second:
        one = replica(first)
        answered = one.open(NONCE, drawn=True).identifier
        with first.client() as here, second.client() as there:
            secret = here.get("{2cvm}:secret")
            one.begin(answered)
            # The other had not heard of the answer when it took over; the first then learns from it, and takes over.
            there.set("{2cvm}:secret", secret)
            here.replicaof("127.0.0.1", second.port)
            until = time.monotonic() + 20
            while here.info("replication")["master_link_status"] != "up":
                assert time.monotonic() < until
                time.sleep(0.05)
            assert here.keys() == [b"{2cvm}:secret"]
            here.replicaof("NO", "ONE")
        assert code_of(one.begin, answered) == "SESSION_UNKNOWN"


def test_a_server_that_pushes_answers_out(tmp_path):
    """What no longer fits and is thrown away makes every session from before unknown."""
    arguments = ("--save", "", "--maxmemory", "2mb", "--maxmemory-policy", "volatile-lru")
    with redis_server(tmp_path, *arguments) as server, server.client() as client:
        one = replica(server)
        answered = one.open(NONCE, drawn=True).identifier
        one.begin(answered)
        for number in range(200):
            client.set(f"other:{number}", "x" * 10_000, ex=1000)
        assert client.info("stats")["evicted_keys"] > 0
        assert code_of(one.begin, answered) == "SESSION_UNKNOWN"


def test_a_server_that_is_full(tmp_path):
    """Where an answer cannot be noted, none is taken."""
    with redis_server(tmp_path, "--save", "") as server, server.client() as client:
        one = replica(server)
        waiting = one.open(NONCE, drawn=True)
        client.config_set("maxmemory", "1")
        assert one.get(waiting.identifier) == waiting
        assert code_of(one.begin, waiting.identifier) == "STATE_UNREACHABLE"
        client.config_set("maxmemory", "0")
        time.sleep(PAUSE_SECONDS)
        assert one.begin(waiting.identifier).state is SessionState.PROCESSING


def test_a_server_that_does_not_answer(redis):
    """Who comes after the first that waited in vain is not kept waiting, and no text says where it is."""
    client = connect(RedisPlace(url="redis://127.0.0.1:1/0", user="", password="", authority=None))
    clock = HandClock()
    one = replica(redis, client=client, clock=clock)
    said = []
    for seconds in (0, 0, PAUSE_SECONDS / 2, PAUSE_SECONDS, PAUSE_SECONDS):
        clock.seconds = seconds
        with pytest.raises(ServiceError) as refused:
            one.open(NONCE, drawn=True)
        assert refused.value.code == "STATE_UNREACHABLE"
        said.append(refused.value.detail)
    tried, spared = "state: ConnectionError", "state: was not reached a moment ago"
    assert said == [tried, spared, spared, tried, spared]


def test_a_server_with_a_password(tmp_path):
    """The right one opens it, another does not, and no representation shows it."""
    users = ("--user", "verifier", "on", ">s3cret", "~{2cvm}:*", "+@all", "--user", "default", "off")
    with redis_server(tmp_path, "--save", "", *users) as server:
        right = replace(server.place(), user="verifier", password="s3cret")
        assert "s3cret" not in repr(right)
        assert replica(server, client=connect(right)).open(NONCE, drawn=True).state is SessionState.WAITING
        for wrong in (replace(right, password="other"), replace(right, user="", password="")):
            assert code_of(replica(server, client=connect(wrong)).answers.moment) == "STATE_UNREACHABLE"


def test_the_services_settings_open_a_server_with_a_password(tmp_path):
    """The user is a setting and the password a file."""
    users = ("--user", "verifier", "on", ">s3cret", "~{2cvm}:*", "+@all", "--user", "default", "off")
    password = tmp_path / "password"
    password.write_text("s3cret\n")
    password.chmod(0o600)
    with redis_server(tmp_path, "--save", "", *users) as server:
        state = State.model_construct(redis=server.url, redis_user="verifier", redis_password=password)
        assert replica(server, client=assembly._redis(state)).open(NONCE, drawn=True).state is SessionState.WAITING


def test_a_server_behind_tls_has_to_show_whom_it_is(redis, tmp_path):
    """One with a certificate of the authority is taken; one of another, of nobody known, or without TLS is none."""
    (chain, key), (other, _) = (self_signed(tmp_path, name) for name in ("redis", "other"))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    tls = ("--tls-port", str(port), "--tls-cert-file", str(chain), "--tls-key-file", str(key))
    with redis_server(tmp_path, "--save", "", *tls, "--tls-auth-clients", "no") as server:
        right = replace(server.place(), url=f"rediss://localhost:{port}/0", authority=chain)
        assert replica(server, client=connect(right)).open(NONCE, drawn=True).state is SessionState.WAITING
        plain = redis.url.replace("redis://127.0.0.1", "rediss://localhost")
        for wrong in ({"authority": other}, {"authority": None}, {"url": plain}):
            assert (
                code_of(replica(server, client=connect(replace(right, **wrong))).answers.moment) == "STATE_UNREACHABLE"
            )


def test_what_is_told_of_a_token_is_the_token():
    """A state and a result, and nothing in their text."""
    told = Told(state=SessionState.COMPLETE, result="secret")
    assert "secret" not in repr(told)

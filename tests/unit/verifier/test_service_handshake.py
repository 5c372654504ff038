"""TLS at the service's own listener: what counts before it is spoken, what ends it, and what comes with its end."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress

import pytest
from tests.support.service_process import self_signed

from twocvm_verifier.service.handshake import REFUSALS_SECONDS, Handshake, Refusals
from twocvm_verifier.service.process import Doorkeeper
from twocvm_verifier.service.settings import Limits, Listen
from twocvm_verifier.service.tls import tls_of


class Told(asyncio.Protocol):
    """A connection that keeps what it is told."""

    def __init__(self):
        self.received = asyncio.Queue()

    def connection_made(self, transport):
        self.received.put_nowait("made")

    def data_received(self, data):
        self.received.put_nowait(data)


class Client:
    """The other end: TLS over memory, so that a test says what goes out together."""

    def __init__(self, authority, *, shown=None, newest=ssl.TLSVersion.TLSv1_3):
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = ssl.create_default_context(cafile=str(authority))
        context.maximum_version = newest
        if shown is not None:
            context.load_cert_chain(*shown)
        self.tls = context.wrap_bio(self._in, self._out, server_hostname="localhost")

    async def shake(self, reader, writer):
        """Go through the handshake, and keep back what ends it."""
        while True:
            try:
                return self.tls.do_handshake()
            except ssl.SSLWantReadError:
                writer.write(self._out.read())
                self._in.write(await reader.read(65_536))

    def outgoing(self):
        """Return what is to be sent."""
        return self._out.read()

    async def told(self, reader):
        """Return what the other end said as it went."""
        self._in.write(await reader.read())
        with pytest.raises(ssl.SSLError) as refused:
            self.tls.read()
        return refused.value.reason


@pytest.fixture
def listener(tmp_path):
    """Return what runs the steps of a test at a listener with room for one: `steps(connect, told, made)`."""
    chain, key = self_signed(tmp_path, "service")
    admins, _ = self_signed(tmp_path, "admins")
    limits = Limits.model_construct(**dict(Limits()) | {"connections": 1})
    doorkeeper, told, made, later = Doorkeeper(limits, proxies=()), Told(), [], []
    tls = tls_of(Listen.model_construct(certificate=chain, key=key, client_ca=admins))
    refusals = Refusals(lambda seconds, tell: later.append((seconds, tell)))

    class Known(Handshake):
        wire = None

        def connection_made(self, transport):
            self.wire = transport
            super().connection_made(transport)

    def accepted():
        made.append(Known(lambda: told, tls=tls, seconds=5, doorkeeper=doorkeeper, refusals=refusals))
        return made[-1]

    def run(steps):
        async def there():
            server = await asyncio.get_running_loop().create_server(accepted, "127.0.0.1", 0)
            address = server.sockets[0].getsockname()
            opened = []

            async def connect():
                opened.append(await asyncio.open_connection(*address))
                return opened[-1]

            async with server:
                await asyncio.wait_for(steps(connect, told, made), 20)
                for _, writer in opened:
                    writer.close()
                    with suppress(OSError):
                        await writer.wait_closed()

        asyncio.run(there())
        return doorkeeper

    run.chain, run.later = chain, later
    return run


@pytest.mark.parametrize("together", [True, False])
def test_what_comes_with_the_end_of_a_handshake_is_not_lost(listener, together):
    """A request in the very packet that ends the handshake is answered as one that comes later."""

    async def steps(connect, told, made):
        reader, writer = await connect()
        client = Client(listener.chain)
        await client.shake(reader, writer)
        if not together:
            writer.write(client.outgoing())
            assert await told.received.get() == "made"
        client.tls.write(b"asked")
        writer.write(client.outgoing())
        if together:
            assert await told.received.get() == "made"
        assert await told.received.get() == b"asked"

    listener(steps)


def test_a_handshake_takes_a_place_until_it_ends(listener):
    """Where there is no room for it, nothing is said; and its place is free again when it fails."""

    async def steps(connect, told, made):
        _, first = await connect()
        reader, _ = await connect()
        assert await reader.read() == b""
        first.write(b"no TLS at all")
        await made[0]._shaking
        third, writer = await connect()
        client = Client(listener.chain)
        await client.shake(third, writer)
        writer.write(client.outgoing())
        assert await told.received.get() == "made"

    listener(steps)


def test_a_wire_that_is_cut_in_the_middle_makes_no_connection(listener):
    """Neither end finished: nobody is told of a connection, and none is counted."""

    async def steps(connect, told, made):
        await connect()
        while not made or made[0]._shaking is None:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        made[0].wire.abort()
        await made[0]._shaking
        assert told.received.empty()

    doorkeeper = listener(steps)
    assert doorkeeper.enter("192.0.2.1")


def test_who_shows_a_certificate_of_nobodys_is_told_so(listener, tmp_path, caplog):
    """TLS 1.3's own alert comes, though the client's handshake was over; the log has a line now, and one a while."""
    others = self_signed(tmp_path, "others")
    caplog.set_level("INFO", "twocvm.verifier")

    async def refused(connect):
        reader, writer = await connect()
        client = Client(listener.chain, shown=others)
        await client.shake(reader, writer)
        client.tls.write(b"asked")
        writer.write(client.outgoing())
        assert await client.told(reader) == "TLSV1_ALERT_UNKNOWN_CA"

    async def steps(connect, told, made):
        for _ in range(4):
            await refused(connect)
        # Three came in a while; in the next none, and then one.
        for _ in range(2):
            ((seconds, tell),) = listener.later
            assert seconds == REFUSALS_SECONDS
            listener.later.clear()
            tell()
        assert listener.later == []
        await refused(connect)
        assert told.received.empty()

    listener(steps)
    assert [record.msg for record in caplog.records] == ["client-certificate-refused"] * 3
    assert [record.fields["times"] for record in caplog.records] == [1, 3, 1]
    assert {record.fields["reason"] for record in caplog.records} == {"self-signed certificate"}


def test_an_older_tls_is_told_so(listener, caplog):
    """Who speaks nothing newer than TLS 1.2 learns what is wrong, and the log says nothing of it."""
    caplog.set_level("INFO", "twocvm.verifier")

    async def steps(connect, told, made):
        reader, writer = await connect()
        client = Client(listener.chain, newest=ssl.TLSVersion.TLSv1_2)
        with pytest.raises(ssl.SSLError, match="alert protocol version"):
            await client.shake(reader, writer)
        assert told.received.empty()

    listener(steps)
    assert caplog.records == []

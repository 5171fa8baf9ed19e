"""The Python client `websockets` against the demo: messages, fragments, pings, close codes, compression that is not agreed upon,
and a reload."""

import asyncio
import subprocess
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

address, destrier, config = sys.argv[1:]
base = f"ws://{address}"


async def echoes():
    async with connect(f"{base}/ws/echo", subprotocols=["chat", "other"]) as socket:
        assert socket.subprotocol == "chat", socket.subprotocol
        assert socket.protocol.extensions == [], "it offers compression"
        for message in ["", "κόσμε 𝄞", b"", b"\xff\x00", "x" * 1_000_000, b"y" * 900_000]:
            await socket.send(message)
            assert await socket.recv() == message
        await socket.send(["in ", "three ", "pieces"])
        assert await socket.recv() == "in three pieces"
        pong = await socket.ping(b"hello")
        await asyncio.wait_for(pong, 10)
        await socket.close(4000, "enough")
        assert socket.close_code == 4000, socket.close_code


async def closes():
    async with connect(f"{base}/ws/close?code=3001&reason=why") as socket:
        try:
            await socket.recv()
        except ConnectionClosed as closed:
            assert (closed.rcvd.code, closed.rcvd.reason) == (3001, "why"), closed
        else:
            raise AssertionError("it did not close")


async def is_refused():
    try:
        async with connect(f"{base}/status/403"):
            raise AssertionError("it opened")
    except InvalidStatus as refused:
        assert refused.response.status_code == 403, refused


async def is_too_long():
    socket = await connect(f"{base}/ws/echo")
    try:
        await socket.send(b"x" * (16 * 1024 * 1024 + 1))
        await socket.recv()
    except ConnectionClosed as closed:
        assert closed.rcvd is not None and closed.rcvd.code == 1009, closed
    else:
        raise AssertionError("it was not refused")


async def survives_a_reload():
    """What is sent is echoed, or the client is told that the server goes; it connects again, and the same is sent again."""
    is_over = False

    async def talk():
        count, connections = 0, 0
        async for socket in connect(f"{base}/ws/echo"):
            connections += 1
            try:
                while not is_over:
                    await socket.send(str(count))
                    assert await socket.recv() == str(count)
                    count += 1
                return count, connections
            except ConnectionClosed as closed:
                assert closed.rcvd is not None and closed.rcvd.code == 1001, closed

    async def reload():
        process = await asyncio.create_subprocess_exec(
            destrier, "reload", "-c", config, stdout=subprocess.DEVNULL
        )
        assert await process.wait() == 0

    talking = [asyncio.create_task(talk()) for _ in range(50)]
    await asyncio.sleep(0.5)
    await reload()
    listening = connect(f"{base}/ws/events?ms=20&deaf=1")
    async with listening as socket:
        await reload()
        async for _ in socket:
            pass
        assert socket.close_code == 1001, socket.close_code
    is_over = True
    for count, connections in await asyncio.gather(*talking):
        assert count > 0 and connections > 1, (count, connections)


async def main():
    for check in [echoes, closes, is_refused, is_too_long, survives_a_reload]:
        await asyncio.wait_for(check(), 60)
        print(f"websockets: {check.__name__}")


asyncio.run(main())

"""A WebSocket client, by websockets: says some things to the server of these tests and prints what came of it as JSON."""
import asyncio, json, sys

import websockets


def connect():
    return websockets.connect(sys.argv[1], subprotocols=["other.v1", "test.v1"], ping_interval=None, open_timeout=10)


async def main():
    seen = {}
    async with connect() as socket:
        seen["subprotocol"] = socket.subprotocol
        seen["extensions"] = [extension.name for extension in socket.extensions]
        await socket.send("grüße")
        seen["text"] = await socket.recv()
        await socket.send(["frag", "men", "ted"])
        seen["fragmented"] = await socket.recv()
        large = bytes(range(256)) * 2048
        await socket.send(large)
        seen["large"] = (await socket.recv()) == large[::-1]
        await asyncio.wait_for(await socket.ping(b"hello"), 10)
        seen["pong"] = True
        await socket.send("ping me")
        seen["ping"] = await socket.recv()
        await socket.close(4000, "that was all")
    async with connect() as socket:
        await socket.send("how did the last end")
        seen["own close"] = json.loads(await socket.recv())
        await socket.send("close me")
        try:
            await socket.recv()
        except websockets.ConnectionClosed as closed:
            seen["their close"] = [closed.rcvd.code, closed.rcvd.reason]
    print(json.dumps(seen))


asyncio.run(asyncio.wait_for(main(), 30))

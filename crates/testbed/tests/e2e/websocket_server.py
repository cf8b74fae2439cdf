"""A WebSocket server, by websockets: answers text in capitals and bytes in reverse, and does what some words ask for."""
import asyncio, json, sys

import websockets

last_close = None


async def serve(socket):
    global last_close
    try:
        async for message in socket:
            if message == "ping me":
                await asyncio.wait_for(await socket.ping(b"are you there"), 10)
                await socket.send("you answered")
            elif message == "close me":
                await socket.close(4001, "as you wish")
            elif message == "how did the last end":
                await socket.send(json.dumps(last_close))
            elif isinstance(message, str):
                await socket.send(message.upper())
            else:
                await socket.send(message[::-1])
    except websockets.ConnectionClosed:
        pass
    finally:
        last_close = [socket.close_code, socket.close_reason]


async def main():
    async with websockets.serve(serve, None, int(sys.argv[1]), subprotocols=["test.v1"], ping_interval=None):
        await asyncio.Future()


asyncio.run(main())

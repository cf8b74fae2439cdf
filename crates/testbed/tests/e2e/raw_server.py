"""A server that does on the wire exactly what its path asks for: what libraries would not let a test do."""
import asyncio, sys


async def head(reader):
    data = await reader.readuntil(b"\r\n\r\n")
    lines = data.decode("latin1").split("\r\n")
    method, target, _ = lines[0].split(" ")
    return method, target, lines[1:-2], data


def plain(body, extra=""):
    return f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\n{extra}\r\n".encode() + body


async def serve(reader, writer):
    try:
        while True:
            method, target, headers, raw = await head(reader)
            length = next((int(h.split(":")[1]) for h in headers if h.lower().startswith("content-length")), 0)
            if target == "/expect":
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                await writer.drain()
            if target == "/refuse-expect":
                writer.write(b"HTTP/1.1 417 Expectation Failed\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                await writer.drain()
                return
            if target == "/upgrade":
                writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
                while data := await reader.read(4096):
                    writer.write(data.upper())
                    await writer.drain()
                return
            if method == "CONNECT":
                writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
                while data := await reader.read(4096):
                    writer.write(data.upper())
                    await writer.drain()
                return
            body = await reader.readexactly(length) if length else b""
            if target == "/trailers":
                writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 42\r\n\r\n")
            elif target == "/hints":
                writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n" + plain(b"done"))
            elif target == "/until-close":
                writer.write(b"HTTP/1.1 200 OK\r\n\r\nall of it")
                await writer.drain()
                return
            elif target == "/cut":
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nonly this")
                await writer.drain()
                return
            elif target == "/slow":
                await asyncio.sleep(0.3)
                writer.write(plain(b"slow"))
            elif target == "/fail":
                writer.write(b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n")
            elif target == "/pretend":
                writer.write(plain(b"x", "conduit-proxy-error: connect\r\n"))
            elif target == "/head":
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1234\r\n\r\n")
            elif target == "/body":
                writer.write(plain(str(len(body)).encode()))
            else:
                writer.write(plain(raw))
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def main():
    server = await asyncio.start_server(serve, None, int(sys.argv[1]))
    async with server:
        await server.serve_forever()


asyncio.run(main())

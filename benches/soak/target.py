#!/usr/bin/env python3
"""A target of the soak: `target.py NAME PORT`. Well under every path but /faulty/, where it does what
the path says. It is killed and started again by the director; it remembers nothing."""

import asyncio
import base64
import hashlib
import socket
import struct
import sys

NAME = sys.argv[1]
PATTERN = bytes(range(251))
PLAIN = f"HTTP/1.1 200 OK\r\nx-origin: {NAME}\r\n".encode()


def patterned(size):
    """Content in which every piece that is lost or doubled shows."""
    return (PATTERN * (size // len(PATTERN) + 1))[:size]


class Gone(Exception):
    """The connection is to end here, by a reset or not."""


async def serve(reader, writer):
    try:
        while await one(reader, writer):
            await writer.drain()
    except (Gone, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        pass
    finally:
        writer.close()


async def one(reader, writer):
    """One request; whether the connection goes on."""
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, target, _ = lines[0].split(" ")
    pairs = (line.split(": ", 1) for line in lines[1:] if line)
    fields = {name.lower(): value for name, value in pairs}
    path, _, query = target.partition("?")
    if path.startswith("/long/ws"):
        return await websocket(reader, writer, fields)
    if path.startswith("/faulty/"):
        return await faulty(path[8:], reader, writer, fields)
    if method == "POST":
        digest, length = hashlib.sha256(), 0
        async for part in body(reader, fields):
            digest.update(part)
            length += len(part)
        answer(writer, f"{length} {digest.hexdigest()}".encode())
    elif path == "/long/page":
        await page(writer, int(query))
    else:
        answer(writer, b"here is " + NAME.encode())
    return "close" not in fields.get("connection", "").lower()


def answer(writer, content, status=b"200 OK"):
    head = PLAIN.replace(b"200 OK", status) + b"content-length: %d\r\n\r\n" % len(content)
    writer.write(head + content)


async def body(reader, fields):
    """The content of a request, piece by piece."""
    if "chunked" in fields.get("transfer-encoding", ""):
        while size := int(await reader.readuntil(b"\r\n"), 16):
            yield (await reader.readexactly(size + 2))[:-2]
        await reader.readexactly(2)
        return
    left = int(fields.get("content-length", 0))
    while left:
        part = await reader.read(min(left, 65536))
        if not part:
            raise Gone
        left -= len(part)
        yield part


async def page(writer, size):
    """An answer of that size, in chunks with pauses; an odd one with a length."""
    content = patterned(size)
    chunked = size % 2 == 0
    frame = b"transfer-encoding: chunked" if chunked else b"content-length: %d" % size
    writer.write(PLAIN + frame + b"\r\n\r\n")
    for at in range(0, size, 32768):
        part = content[at : at + 32768]
        writer.write(b"%x\r\n%b\r\n" % (len(part), part) if chunked else part)
        await writer.drain()
        await asyncio.sleep(0.02)
    if chunked:
        writer.write(b"0\r\n\r\n")


async def websocket(reader, writer, fields):
    """RFC 6455, as far as the soak's client speaks it: each frame comes back unmasked."""
    magic = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    key = hashlib.sha1((fields["sec-websocket-key"] + magic).encode()).digest()
    accept = base64.b64encode(key)
    writer.write(
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
        b"sec-websocket-accept: " + accept + b"\r\n\r\n"
    )
    while True:
        kind, length = await reader.readexactly(2)
        mask = await reader.readexactly(4)
        masked = await reader.readexactly(length & 0x7F)
        content = bytes(byte ^ mask[at % 4] for at, byte in enumerate(masked))
        writer.write(bytes([kind, len(content)]) + content)
        await writer.drain()
        if kind & 0xF == 8:
            raise Gone


async def faulty(what, reader, writer, fields):
    """Does `what`; its name says it."""
    if what == "500":
        answer(writer, b"an error of the application", b"500 Internal Server Error")
        return True
    if what == "interim":
        writer.write(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" * 3)
        answer(writer, b"at last")
        return True
    if what == "early":
        # Says what it has to say without having read the body.
        answer(writer, b"too much", b"413 Content Too Large")
        await writer.drain()
        await asyncio.sleep(1)
        raise Gone
    if what == "close":
        answer(writer, b"and goodbye, unannounced")
        await writer.drain()
        raise Gone
    if what == "stall":
        await asyncio.sleep(20)
        raise Gone
    if what == "drip":
        for byte in PLAIN:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.2)
        raise Gone
    if what == "garbage":
        writer.write(b"220 mail.example ESMTP ready\r\n\r\n")
    elif what == "two_lengths":
        writer.write(PLAIN + b"content-length: 3\r\ncontent-length: 5\r\n\r\nabcde")
    elif what == "truncated":
        writer.write(PLAIN + b"content-length: 1000\r\n\r\nonly this")
    elif what == "bad_chunk":
        writer.write(PLAIN + b"transfer-encoding: chunked\r\n\r\n5\r\nabcde\r\nzz\r\n")
    elif what == "half_reset":
        writer.write(PLAIN + b"content-length: 100000\r\n\r\n" + patterned(50_000))
        await writer.drain()
        await asyncio.sleep(0.1)
        reset(writer)
    else:
        reset(writer)
    await writer.drain()
    raise Gone


def reset(writer):
    """The end of this connection will be a RST."""
    linger = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[2]), backlog=1024)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())

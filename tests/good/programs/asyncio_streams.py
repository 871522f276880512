"""CPython's asyncio, its streams, as its documentation has them."""

import asyncio
import sys


async def echo(reader, writer):
    while data := await reader.read(4096):
        writer.write(data)
        await writer.drain()
    writer.close()


async def main():
    server = await asyncio.start_server(echo, "", int(sys.argv[1]))
    async with server:
        await server.serve_forever()


asyncio.run(main())

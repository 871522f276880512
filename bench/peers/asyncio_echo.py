"""asyncio_echo.py PORT [--uvloop]: a Protocol, the fast way to write an asyncio server, on asyncio's loop or uvloop's.

A transport buffers without bound what the peer does not read; pausing the reading at the transport's high-water mark is
the Protocol's own business, so it is done here.
"""

import asyncio
import importlib
import sys
from typing import cast


class Echo(asyncio.Protocol):
    """Sends back each byte."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Send it back."""
        self.transport.write(data)

    def pause_writing(self) -> None:
        """Read nothing while the peer does not read either."""
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on."""
        self.transport.resume_reading()


async def serve(port: int) -> None:
    """Serve for ever."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Echo, "0.0.0.0", port, backlog=4096)
    await server.serve_forever()


library = importlib.import_module("uvloop") if "--uvloop" in sys.argv else asyncio
library.new_event_loop().run_until_complete(serve(int(sys.argv[1])))

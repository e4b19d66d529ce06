"""An echo server of WebSockets, on asyncio. Prints its port.

The path /slow answers after half a second, /count sends 0 to 99 and closes.
"""

import asyncio

from websockets.asyncio.server import serve


async def handle(connection):
    path = connection.request.path
    if path == "/count":
        for i in range(100):
            await connection.send(str(i))
        return
    async for message in connection:
        if path == "/slow":
            await asyncio.sleep(0.5)
        await connection.send(message)


async def main():
    async with serve(handle, "127.0.0.1", 0, max_size=None) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()


asyncio.run(main())

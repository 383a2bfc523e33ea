"""The gateway as a program of its own: `serve.py STORE [RECORDS] [trustless]`; prints its URL when it is ready."""

import asyncio
import sys
from pathlib import Path

from pinfold.gateway import Settings, gateway
from pinfold.serving import Address, App, Limits, Route, Routes
from pinfold.serving.server import Server, listen
from pinfold.store.folder import FolderStore


async def main(folder: str, records: str = "", mode: str = "") -> None:
    """Serve until told to stop."""
    store = FolderStore.open(Path(folder))
    door = gateway(store, Settings(trustless_only=mode == "trustless", records=Path(records) if records else None))
    limits = Limits()
    routes = Routes([Route("/ipfs", door, "gateway"), Route("/ipns", door, "gateway")])
    bound = listen(Address.parse("127.0.0.1:0"), limits)
    server = Server(App(limits, []), [(bound, routes)])
    await server.run(lambda: print(bound.urls[0], flush=True))  # noqa: T201  whoever started it waits for that
    door.close()
    store.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

"""A pinning service in a process of its own: `alone.py STORE FOLDER [ORIGIN…]` prints its URL and a token."""

import asyncio
import sys
from pathlib import Path

from pinfold.pinning import Limits, Options, PinningService
from pinfold.serving import Address, App, Route, Routes
from pinfold.serving import Limits as ServerLimits
from pinfold.serving.server import Server, listen
from pinfold.store import FolderStore


async def serve(service: PinningService) -> None:
    """Serve until told to stop."""
    limits = ServerLimits()
    _, token = service.tokens.add("alone")
    bound = listen(Address.parse("127.0.0.1:0"), limits, None)
    routes = Routes([Route("/pins", service, "pins")])

    def ready() -> None:
        sys.stdout.write(f"{bound.urls[0]} {token.reveal().decode()}\n")
        sys.stdout.flush()

    await Server(App(limits, []), [(bound, routes)]).run(ready)


store, folder = map(Path, sys.argv[1:3])
opened = FolderStore(store) if store.exists() else FolderStore.create(store)
patience = 20.0 if sys.argv[3:] else 0.0
options = Options(origins=tuple(sys.argv[3:]), private_origins=True, patience=patience, limits=Limits(seconds=60))
with PinningService(opened, folder, options) as made:
    asyncio.run(serve(made))
opened.close()

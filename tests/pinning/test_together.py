"""Many clients at once, over the same few roots."""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING

from lab.process import wait_until
from pinfold.pinning import Options
from pinfold.store import FolderStore
from pinning.served import EVERY, Client, running
from store.dags import trie

if TYPE_CHECKING:
    from pathlib import Path

    from pinning.conftest import Origin

THREADS = 6
STEPS = 25


def test_any_mix_of_requests_ends_in_order(tmp_path: Path, origin: Origin) -> None:
    """However pins are added, replaced and dropped at once, the store pins in the end just what requests are for."""
    dags = [trie(seed, 20) for seed in range(4)]
    for dag in dags:
        origin.store.put(dag.blocks)
    store = FolderStore.create(tmp_path / "store")
    errors: list[BaseException] = []

    def work(client: Client, seed: int) -> None:
        chance = random.Random(seed)
        mine: list[str] = []
        try:
            for step in range(STEPS):
                root, pin = chance.choice(dags).root, {"name": f"{seed}/{step}", "origins": [origin.url]}
                if mine and chance.random() < 0.3:
                    assert 202 == client.delete(mine.pop(chance.randrange(len(mine)))).status
                    continue
                old = mine.pop(chance.randrange(len(mine))) if mine and chance.random() < 0.4 else None
                answer = client.add(root, **pin) if old is None else client.replace(old, root, **pin)
                assert 202 == answer.status
                mine.append(answer.document["requestid"])
        except BaseException as error:  # noqa: BLE001  # told after the join
            errors.append(error)

    with running(store, tmp_path / "service", Options(private_origins=True, patience=0.0)) as (_, client):
        threads = [threading.Thread(target=work, args=(client, seed)) for seed in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [] == errors
        wait_until(lambda: client.list(status="queued,pinning,failed").document["count"] == 0, what="all to be pinned")
        told = client.list(status=EVERY, limit="1000").document["results"]
        names = {one["pin"]["cid"]: one["pin"]["name"] for one in told}  # newest first: the oldest stays
        wait_until(lambda: {str(pin.root): pin.name for pin in store.pins()} == names, what="the store to follow")
    for dag in dags:
        assert str(dag.root) not in names or all(block == store.get(cid) for cid, block in dag.blocks)
    store.close()

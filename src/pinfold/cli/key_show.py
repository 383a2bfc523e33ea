"""`pinfold key show`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pinfold.cli import output
from pinfold.cli.options import command

if TYPE_CHECKING:
    from pinfold.cli.call import Call
    from pinfold.cli.options import Json
    from pinfold.seal.slots import Slot


@command(
    "show",
    examples=["pinfold key show", "pinfold key show --json | jq '.slots[].label'"],
    exits=(4, 5),
    returns=(
        "repository, owner, sequence, generation, public_key, padding, slots: list of {kind, fingerprint, label, kdf},"
        " agents: list of {name, key, until}"
    ),
)
def show(call: Call) -> int:
    """Show the newest keyring: the slots that open the repository, and the agents that may sign snapshots.

    Needs no key.
    """
    from pinfold import catalogue, wiring  # noqa: PLC0415

    with wiring.opened(call.settings()) as found:
        keyring = catalogue.newest_keyring(found.store, found.repository)
    agents: list[Json] = [
        {"name": one.name, "key": one.key.hex(), "until": one.until or None} for one in keyring.agents
    ]
    slots: list[Json] = [
        {"kind": one.kind, "fingerprint": one.fingerprint, "label": one.label, "kdf": _kdf(one)}
        for one in keyring.slots
    ]
    out = call.out
    out.document(
        {
            "repository": keyring.repository.id,
            "owner": keyring.repository.owner.hex(),
            "sequence": keyring.sequence,
            "generation": keyring.generation,
            "public_key": keyring.public_key,
            "padding": keyring.repository.padding,
            "slots": slots,
            "agents": agents,
        }
    )
    out.line(f"repository  {keyring.repository.id}, keyring {keyring.sequence}, generation {keyring.generation}")
    out.line(f"public key  {keyring.public_key}")
    out.line()
    out.table(
        ["slot", "kind", "~label", "stretched by"],
        [[one["fingerprint"], one["kind"], output.path(one["label"]), _words(one["kdf"])] for one in slots],
    )
    out.line()
    out.table(
        ["~agent", "key", "may sign"],
        [
            [
                output.path(one["name"]),
                one["key"][:16] + "…",
                "yes" if one["until"] is None else f"until {one['until']}",
            ]
            for one in agents
        ],
    )
    return 0


def _kdf(slot: Slot) -> Json | None:
    stretch = slot.stretch
    if stretch is None:
        return None
    found: Json = {"name": stretch.name, "iterations": stretch.iterations}
    if stretch.name == "argon2id":
        found |= {"memory_kib": stretch.memory, "lanes": stretch.lanes}
    return found


def _words(kdf: Json | None) -> str:
    if kdf is None:
        return ""
    memory = f", {output.size(kdf['memory_kib'] * 1024)}" if "memory_kib" in kdf else ""
    return f"{kdf['name']}, {output.some(kdf['iterations'], 'pass', 'passes')}{memory}"

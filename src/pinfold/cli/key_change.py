"""`pinfold key add, remove, passphrase, rotate, new-agent`: each writes a keyring, and settles what follows from it."""

from __future__ import annotations

import contextlib
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pinfold.cli import output
from pinfold.cli.init import stretch_of, stretching
from pinfold.cli.options import command

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pinfold.cli.call import Call
    from pinfold.cli.options import Json
    from pinfold.rekey import Settled
    from pinfold.seal.keyring import Keyring
    from pinfold.seal.secret import Secret
    from pinfold.wiring import Owned

_PARTIAL = 3
_RETURNS = "repository, keyring (CID), sequence, generation, rerooted, failed: list of {root, message}"
_NEW = click.option("--new-passphrase-file", metavar="FILE", help="File with the new passphrase; else you are asked.")


@command(
    "add",
    examples=[
        "pinfold key add age1... --label alice",
        'pinfold key add "$(cat ~/.ssh/id_ed25519.pub)" --label laptop',
        "pinfold key add --passphrase --label safe",
    ],
    exits=(3, 4, 5),
    returns=_RETURNS,
)
@click.argument("recipient", required=False)
@click.option("--label", metavar="TEXT", help="What key show calls it; everybody can read it.")
@click.option("--passphrase", "by_passphrase", is_flag=True, help="Add a passphrase instead.")
@_NEW
@stretching[0]
@stretching[1]
@stretching[2]
def add(
    call: Call,
    recipient: str | None,
    label: str | None,
    by_passphrase: bool,
    new_passphrase_file: str | None,
    kdf: str,
    kdf_iterations: int | None,
    kdf_memory: int | None,
) -> int:
    """Let RECIPIENT, an age or SSH public key, open the repository, too; or a further passphrase."""
    from pinfold import rekey  # noqa: PLC0415

    by_passphrase = by_passphrase or new_passphrase_file is not None
    if by_passphrase == (recipient is not None):
        raise click.UsageError("give one RECIPIENT, or --passphrase")
    stretch = stretch_of(kdf, kdf_iterations, kdf_memory)
    with _owned(call) as owner:
        if recipient is not None:
            made = rekey.add_recipient(owner.keyring, owner.key, recipient, label or "recipient")
        else:
            new = _new_passphrase(call, new_passphrase_file)
            made = rekey.add_passphrase(owner.keyring, owner.key, new, label or "passphrase", stretch)
        return _publish(call, owner, made, f"added slot {made.slots[-1].fingerprint}")


@command(
    "remove",
    examples=["pinfold key remove alice", "pinfold key remove 3f9a", "pinfold key remove web1"],
    exits=(3, 4, 5),
    returns=_RETURNS,
)
@click.argument("what", metavar="SLOT|AGENT")
def remove(call: Call, what: str) -> int:
    """Take a slot (by label, fingerprint or its beginning) away, or let an agent sign no more (by name).

    Every snapshot is pinned anew under the new keyring, a few small blocks each, so that no pinned root still opens
    with what was taken away. Who had a copy keeps it: after an incident also run pinfold key rotate.
    """
    from pinfold import rekey  # noqa: PLC0415
    from pinfold.clock import SystemClock  # noqa: PLC0415

    with _owned(call) as owner:
        made = rekey.remove(owner.keyring, owner.key, what, SystemClock())
        return _publish(call, owner, made, f"removed {output.path(what)}")


@command(
    "passphrase",
    examples=[
        "pinfold key passphrase",
        "pinfold key passphrase --new-passphrase-file new.txt --passphrase-file old.txt",
    ],
    exits=(3, 4, 5),
    returns=_RETURNS,
)
@_NEW
@stretching[0]
@stretching[1]
@stretching[2]
def passphrase(
    call: Call, new_passphrase_file: str | None, kdf: str, kdf_iterations: int | None, kdf_memory: int | None
) -> int:
    """Change the passphrase: the one that opens the repository now gives way to a new one."""
    from pinfold import rekey, wiring  # noqa: PLC0415
    from pinfold.errors import UsageError  # noqa: PLC0415

    stretch = stretch_of(kdf, kdf_iterations, kdf_memory)
    settings = call.settings()
    old = wiring.passphrase(settings)
    if old is None and call.ask is not None:
        old = call.ask("Passphrase until now: ")
    if old is None:
        raise UsageError("no terminal to ask for the passphrase until now: give it by --passphrase-file FILE")
    known = old
    with wiring.owned(settings, lambda _: known) as owner:
        _settle(call, owner, owner.keyring)
        new = _new_passphrase(call, new_passphrase_file)
        made = rekey.change_passphrase(owner.keyring, owner.key, old, new, stretch)
        return _publish(call, owner, made, "the passphrase is changed")


@command(
    "rotate",
    examples=["pinfold key rotate", "pinfold key rotate && pinfold key new-agent web1 --output web1-new.agent"],
    exits=(3, 4, 5),
    returns=_RETURNS + ", left: list of labels, agents: list of names",
)
def rotate(call: Call) -> int:
    """Begin a new generation: new secrets, sealed anew to the recipients and to the passphrase that is given.

    For incidents. What is sealed from now on does not open with the old secrets, and does not share blocks with what
    was sealed before: the next backup stores everything once more. Each agent needs a new key.
    """
    from pinfold import rekey, wiring  # noqa: PLC0415
    from pinfold.clock import SystemClock  # noqa: PLC0415

    settings = call.settings()
    known: list[Secret] = []

    def ask(prompt: str) -> Secret:
        if call.ask is None:
            raise click.UsageError("no terminal to ask for the passphrase: give it by --passphrase-file FILE")
        known.append(call.ask(prompt))
        return known[-1]

    with wiring.owned(settings, ask if call.ask is not None else None) as owner:
        given = wiring.passphrase(settings) or (known[0] if known else None)
        made, left = rekey.rotate(owner.keyring, owner.key, given, SystemClock())
        agents = [one.name for one in made.agents if not one.until and one.name != rekey.OWNER]
        more: Json = {"left": [slot.label for slot in left], "agents": agents}
        code = _publish(call, owner, made, f"generation {made.generation} begins", more)
    for slot in left:
        call.out.warn(
            f"slot {slot.fingerprint} ({output.path(slot.label)}) is left behind, its passphrase was not given;"
            " add it again with: pinfold key add --passphrase"
        )
    for agent in agents:
        # A name of its own: the key of the generation before may lie here still.
        file = shlex.quote(f"{agent.replace('/', '_')}-{made.generation}.agent")
        call.out.say(
            f"agent {output.path(agent)} needs a new key, in place of its old one:"
            f" pinfold key new-agent {output.path(shlex.quote(agent))} --output {output.path(file)}"
        )
    return _PARTIAL if left else code


@command(
    "new-agent",
    examples=[
        "pinfold key new-agent web1 --output web1.agent",
        "scp web1.agent web1:.config/pinfold/REPOSITORY.agent    # its id, as pinfold key show tells it",
    ],
    exits=(3, 4, 5),
    returns=_RETURNS + ", agent, agent_key (path)",
)
@click.argument("name")
@click.option("--output", "target", metavar="FILE", help="Where to write its key. [NAME-REPOSITORY.agent here]")
def new_agent(call: Call, name: str, target: str | None) -> int:
    """Make a key with which the machine NAME can make snapshots, and neither read nor delete any.

    An older agent of that name signs no more. Bring the file there and name it by --agent-key, PINFOLD_AGENT_KEY, or
    put it into ~/.config/pinfold: a key of the repository is found there under any name that ends in .agent, first
    as REPOSITORY.agent.
    """
    from pinfold import rekey, wiring  # noqa: PLC0415
    from pinfold.clock import SystemClock  # noqa: PLC0415
    from pinfold.errors import PinfoldError  # noqa: PLC0415

    with _owned(call) as owner:
        made, agent = rekey.new_agent(owner.keyring, owner.key, name, SystemClock())
        chosen = Path(target) if target is not None else Path(f"{name.replace('/', '_')}-{owner.repository}.agent")
        path = wiring.write_agent(call.settings(), agent, chosen.absolute(), option="--output")
        try:
            root = rekey.publish(owner.store, made)
        except PinfoldError:
            path.unlink(missing_ok=True)
            raise
        settled = _settle(call, owner, made)
        more: Json = {"agent": name, "agent_key": str(path), "keyring": str(root)}
        code = _tell(call, made, settled, f"agent {output.path(name)} may sign; its key is in {path}", more)
    call.out.say("bring that file to the machine and delete it here")
    return code


def _new_passphrase(call: Call, file: str | None) -> Secret:
    from pinfold import wiring  # noqa: PLC0415

    return call.ask_twice("new passphrase") if file is None else wiring.passphrase_file(Path(file))


@contextlib.contextmanager
def _owned(call: Call) -> Iterator[Owned]:
    """The repository opened by its owner, an earlier change that was cut short brought to its end first."""
    with call.owned() as owner:
        _settle(call, owner, owner.keyring)
        yield owner


def _publish(call: Call, owner: Owned, made: Keyring, what: str, more: Json | None = None) -> int:
    from pinfold import rekey  # noqa: PLC0415

    root = rekey.publish(owner.store, made)
    return _tell(call, made, _settle(call, owner, made), what, {"keyring": str(root), **(more or {})})


def _settle(call: Call, owner: Owned, made: Keyring) -> Settled:
    from pinfold import rekey  # noqa: PLC0415
    from pinfold.cli import progress  # noqa: PLC0415

    with progress.bar(call.out, "snapshots", counts="pinned anew") as bar:
        return rekey.settle(owner.store, made, bar.to)


def _tell(call: Call, made: Keyring, settled: Settled, what: str, more: Json) -> int:
    out = call.out
    out.document(
        {
            "repository": made.repository.id,
            "sequence": made.sequence,
            "generation": made.generation,
            "rerooted": settled.rerooted,
            "failed": [{"root": root, "message": message} for root, message in settled.failed],
            **more,
        }
    )
    out.say(f"{what}; keyring {made.sequence}")
    if settled.rerooted:
        out.say(
            f"{output.some(settled.rerooted, 'snapshot')} pinned anew under it; their CIDs are new, their ids are not"
        )
    for root, message in settled.failed:
        out.warn(output.without_echo(f"snapshot {root} still has the old keyring", message))
    return _PARTIAL if settled.failed else 0

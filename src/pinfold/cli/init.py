"""`pinfold init`."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import click

from pinfold.cli.options import command

if TYPE_CHECKING:
    from pinfold.cli.call import Call
    from pinfold.seal.slots import Stretch

_MIB_IN_KIB = 1024
PBKDF2_ITERATIONS = 600_000

stretching = [
    click.option(
        "--kdf",
        type=click.Choice(["argon2id", "pbkdf2-sha256"]),
        default="argon2id",
        show_default=True,
        help="How a passphrase becomes a key.",
    ),
    click.option(
        "--kdf-iterations",
        metavar="N",
        type=click.IntRange(min=1),
        help=f"Passes of the kdf. [3, or {PBKDF2_ITERATIONS} for pbkdf2-sha256]",
    ),
    click.option("--kdf-memory", metavar="MIB", type=click.IntRange(min=1), help="Memory of argon2id, in MiB. [64]"),
]


def stretch_of(kdf: str, iterations: int | None, memory: int | None) -> Stretch:
    """How the passphrase is to be stretched.  Raises click.UsageError when out of bounds."""
    from pinfold.errors import Malformed  # noqa: PLC0415
    from pinfold.seal.slots import Stretch  # noqa: PLC0415

    if kdf == "argon2id":
        made = Stretch(kdf, iterations or 3, (memory or 64) * _MIB_IN_KIB)
    elif memory is not None:
        raise click.UsageError("--kdf-memory is for argon2id; pbkdf2-sha256 takes no memory")
    else:
        made = Stretch(kdf, iterations or PBKDF2_ITERATIONS)
    try:
        made.check()
    except Malformed:
        raise click.UsageError(
            "these costs of the kdf are out of bounds: argon2id takes 1 to 64 passes and up to 1024 MiB,"
            " pbkdf2-sha256 10,000 to 100,000,000 iterations"
        ) from None
    return made


def read_recipients(given: tuple[str, ...], file: str | None) -> list[str]:
    """Recipients from options and from a file with one to a line.  Raises click.UsageError."""
    found = list(given)
    if file is not None:
        try:
            with open(file, encoding="utf-8") as lines:  # noqa: PTH123  # a word of the command line, as it is
                found += [line.strip() for line in lines if line.strip() and not line.startswith("#")]
        except OSError as error:
            raise click.UsageError(f"--recipient-file {file}: cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise click.UsageError(f"--recipient-file {file}: is not text") from None
    return found


@command(
    "init",
    examples=[
        "pinfold init /srv/backups                      # asks for a passphrase, twice",
        "pinfold init /srv/backups --recipient age1...  # this machine can save, but not read or delete",
        "pinfold init /srv/backups --recipient-file ~/.ssh/id_ed25519.pub --agent web1",
    ],
    returns="repository, store, keyring (CID), slots (number), agent_key (path or null), padding, beside: list of the"
    " ids of repositories that the store held already",
    exits=(5,),
)
@click.argument("repo", required=False)
@click.option("--recipient", metavar="KEY", multiple=True, help="age or SSH public key that may open it. Repeatable.")
@click.option("--recipient-file", metavar="FILE", help="File of such keys, one to a line.")
@click.option("--passphrase", is_flag=True, help="Let a passphrase open it, besides the recipients.")
@stretching[0]
@stretching[1]
@stretching[2]
@click.option("--no-padding", is_flag=True, help="Do not pad blocks: saves up to 3 %, shows sizes more exactly.")
@click.option("--agent", metavar="NAME", help="What to call this machine's agent. [the host's name]")
def init(
    call: Call,
    repo: str | None,
    recipient: tuple[str, ...],
    recipient_file: str | None,
    passphrase: bool,
    kdf: str,
    kdf_iterations: int | None,
    kdf_memory: int | None,
    no_padding: bool,
    agent: str | None,
) -> int:
    """Make a repository in REPO, a folder that is empty or not there yet.

    Without recipients a passphrase opens it: everything is derived from it, so a passphrase and a store are all one
    needs. With recipients, only who holds an identity of theirs can read; for this machine a key is written with
    which it can make snapshots and nothing else. Keep identities and passphrases elsewhere: without one of them
    nobody can ever restore.
    """
    from pinfold import wiring  # noqa: PLC0415

    settings = call.settings(repository=repo)
    where = wiring.place(settings)
    recipients = read_recipients(recipient, recipient_file)
    stretch = stretch_of(kdf, kdf_iterations, kdf_memory)
    secret = None
    if passphrase or not recipients or call.gives("passphrase_file"):
        secret = wiring.passphrase(settings) or call.ask_twice("passphrase of the new repository")
    made = wiring.init(
        settings, recipients=recipients, secret=secret, stretch=stretch, padding=not no_padding, agent=agent or ""
    )
    call.out.document(
        {
            "repository": made.repository,
            "store": where,
            "keyring": str(made.keyring),
            "slots": len(recipients) + (secret is not None),
            "agent_key": None if made.agent_key is None else str(made.agent_key),
            "padding": not no_padding,
            "beside": list(made.beside),
        }
    )
    call.out.say(f"repository {made.repository} made in {where}")
    if made.agent_key is not None:
        call.out.say(f"agent key   {made.agent_key}: with it this machine makes snapshots; it opens none")
    kept, lost = ("the passphrase", "it") if not recipients else ("the identities", "one of them")
    kept += " and the passphrase" if recipients and secret is not None else ""
    call.out.say(f"keep {kept} in a second place: without {lost} nothing can ever be restored")
    if made.beside:
        call.out.say(
            f"{where} already held repository {', '.join(made.beside)}: say which one you mean with"
            f" export PINFOLD_REPOSITORY_ID={made.repository} or --repository-id {made.repository}"
        )
    known = call.lasting_settings().repository == where
    call.out.say("next: pinfold backup PATH" + ("" if known else f" -r {shlex.quote(where)}"))
    return 0

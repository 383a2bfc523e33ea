"""Changing keys of a repository over and over, and telling afterwards which change took place."""

from __future__ import annotations

import time
from itertools import count
from typing import TYPE_CHECKING

from crash.cli import CHEAP, Machine
from pinfold import catalogue, snapshot
from pinfold.seal.secret import Secret
from pinfold.seal.slots import Passphrase
from pinfold.store import FolderStore

if TYPE_CHECKING:
    from pathlib import Path


class Keys:
    """The passphrases of a machine's repository: the one in use, the one that may be, those that were."""

    def __init__(self, machine: Machine, place: Path) -> None:
        self._machine = machine
        self._file = place / "new passphrase"
        self._numbers = count()
        self._next = ""
        self.former: list[str] = []

    def words(self, kind: str) -> tuple[str | Path, ...]:
        """The words of a change, each with a new passphrase; `remove` takes away what was added, or adds."""
        self._next = f"passphrase {next(self._numbers)}"
        self._file.write_text(self._next)
        new = ("--new-passphrase-file", self._file, *CHEAP)
        extra = self._extra()
        if kind == "passphrase":
            return ("key", "passphrase", *new)
        if kind == "remove" and extra:
            return ("key", "remove", extra[0])
        return ("key", "add", "--label", "extra", *new)

    def _extra(self) -> list[str]:
        slots = self._machine.call("key", "show")["slots"]
        return [one["fingerprint"] for one in slots if one["label"] == "extra"]

    def duration(self) -> float:
        """Seconds that a change takes."""
        began = time.monotonic()
        done = self._machine.run(*self.words("passphrase"))
        assert done.code == 0, done
        self._take()
        return time.monotonic() - began

    def find(self, words: tuple[str | Path, ...]) -> None:
        """After a change that may have taken place: the machine goes on with the passphrase that opens."""
        if words[1] == "passphrase" and self._machine.opens(self._next):
            assert not self._machine.opens(self._machine.passphrase)
            self._take()
        assert self._machine.opens(self._machine.passphrase)

    def _take(self) -> None:
        self.former.append(self._machine.passphrase)
        self._machine.passphrase = self._next

    def settle(self) -> None:
        """A change that ends well: of all former passphrases none opens any pinned root, and one keyring stands."""
        self._machine.call(*self.words("passphrase"))
        self._take()
        with FolderStore.open(self._machine.store) as store:
            repository = catalogue.the_repository(store)
            newest = catalogue.newest_keyring(store, repository)
            assert [catalogue.keyring_pin(newest)] == [
                pin.name for pin in store.pins(catalogue.PREFIX) if "/keyring/" in pin.name
            ]
            for pin in store.pins(catalogue.PREFIX):
                keyring = snapshot.load_keyring(pin.root, store.get)
                assert set(keyring.slots) <= set(newest.slots)
                for old in self.former[-3:]:
                    assert Passphrase(Secret(old.encode())).unlock(keyring.slots, repository) is None

"""Owners by number and by name: a backup notes both, a restore goes by the name where this machine knows it."""

from __future__ import annotations

import grp
import pwd
from functools import lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_MOST: Final = 1 << 16


@lru_cache(maxsize=_MOST)
def user_name(uid: int) -> str | None:
    """The name of the user with this number; None where there is none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OverflowError):
        return None


@lru_cache(maxsize=_MOST)
def group_name(gid: int) -> str | None:
    """The name of the group with this number; None where there is none."""
    try:
        return grp.getgrgid(gid).gr_name
    except (KeyError, OverflowError):
        return None


@lru_cache(maxsize=_MOST)
def _user_number(name: str) -> int | None:
    try:
        return pwd.getpwnam(name).pw_uid
    except (KeyError, ValueError):  # ValueError: no name that could be one, as with a zero byte
        return None


@lru_cache(maxsize=_MOST)
def _group_number(name: str) -> int | None:
    try:
        return grp.getgrnam(name).gr_gid
    except (KeyError, ValueError):
        return None


class Translation:
    """Numbers of the machine backed up to numbers of this one.  May be used from several threads."""

    def __init__(self, *, numeric: bool = False) -> None:
        """`numeric`: keep every number as it is."""
        self._numeric = numeric
        self._users: dict[int, int] = {}
        self._groups: dict[int, int] = {}

    def learn(self, users: Mapping[int, str], groups: Mapping[int, str]) -> None:
        """Take in the names a page of the index gives; to be called before its entries are restored."""
        if self._numeric:
            return
        for known, told in ((self._users, users), (self._groups, groups)):
            if len(known) + len(told) > _MOST:  # no machine has so many; an index made up to fill memory may
                known.clear()
        for number, name in users.items():
            found = _user_number(name)
            self._users[number] = number if found is None else found
        for number, name in groups.items():
            found = _group_number(name)
            self._groups[number] = number if found is None else found

    def uid(self, number: int) -> int:
        """The user's number on this machine."""
        return self._users.get(number, number)

    def gid(self, number: int) -> int:
        """The group's number on this machine."""
        return self._groups.get(number, number)

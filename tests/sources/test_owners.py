"""Owners: names where there are names, numbers where there are none."""

import grp
import os
import pwd

import pytest

from pinfold.sources.directory.owners import Translation, group_name, user_name

NOBODYS = 3_000_000_001


def test_numbers_have_names_where_known() -> None:
    """The name of a number is what the system says; an unknown or impossible number has none."""
    assert pwd.getpwuid(os.getuid()).pw_name == user_name(os.getuid())
    assert grp.getgrgid(0).gr_name == group_name(0)
    assert [None] * 4 == [user_name(NOBODYS), group_name(NOBODYS), user_name(1 << 40), group_name(-7)]


def test_a_known_name_wins() -> None:
    """A number goes to the number its name has here; without a name known here it stays."""
    owners = Translation()
    owners.learn({1234: "root", 7: "no such user here"}, {1235: grp.getgrgid(0).gr_name})
    assert (0, 7, 99) == (owners.uid(1234), owners.uid(7), owners.uid(99))
    assert (0, 1234) == (owners.gid(1235), owners.gid(1234))


def test_numeric_keeps_numbers() -> None:
    """Asked for numbers only, no name counts."""
    owners = Translation(numeric=True)
    owners.learn({1234: "root"}, {1234: "root"})
    assert (1234, 1234) == (owners.uid(1234), owners.gid(1234))


@pytest.mark.parametrize("name", ["", "\0", "\ud800", "a" * 100_000, "../x"])
def test_hostile_names_are_no_names(name: str) -> None:
    """A name no system could have changes nothing."""
    owners = Translation()
    owners.learn({5: name}, {5: name})
    assert (5, 5) == (owners.uid(5), owners.gid(5))


def test_a_made_up_crowd_is_forgotten() -> None:
    """More names than any machine has do not fill memory."""
    owners = Translation()
    for page in range(9):
        owners.learn({}, {page * 10_000 + n: f"\0{n % 9}" for n in range(10_000)})
    assert len(owners._groups) <= 1 << 16

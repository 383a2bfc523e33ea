"""Retention: what is kept and why, against an oracle that counts by hand, and what holds for every policy."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from random import Random
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinfold.config import duration
from pinfold.errors import UsageError
from pinfold.ipld import CID
from pinfold.retention import Candidate, Decision, Policy, decide

NOW = datetime(2026, 3, 31, 12, tzinfo=UTC)
COUNTS = ("last", "hourly", "daily", "weekly", "monthly", "yearly")


def candidate(
    name: str,
    ago: timedelta | datetime,
    source: str = "s",
    kind: str = "full",
    base: str | None = None,
    tags: tuple[str, ...] = (),
) -> Candidate:
    """Return a snapshot that was finished so long before NOW, or at that moment."""
    finished = ago if isinstance(ago, datetime) else NOW - ago
    return Candidate(CID.of(0x55, name.encode()), name, source, kind, base, finished, tags)


def kept(decisions: Sequence[Decision]) -> set[str]:
    """Return the names of those that are kept."""
    return {one.candidate.id for one in decisions if one.keep}


def reasons(decisions: Sequence[Decision]) -> dict[str, tuple[str, ...]]:
    """Return what is said of each."""
    return {one.candidate.id: one.reasons for one in decisions}


DAYS = [candidate(f"d{day}", timedelta(days=day)) for day in range(40)]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (Policy(last=2), {0, 1}),
        (Policy(hourly=3), {0, 1, 2}),
        (Policy(daily=2, weekly=3), {0, 1, 2, 9}),
        (Policy(monthly=2), {0, 31}),
        (Policy(yearly=3), {0}),
        (Policy(within=duration("2d")), {0, 1, 2}),
        (Policy(within=duration("P1M")), set(range(32))),
        (Policy(tags=("none",)), {0}),
    ],
)
def test_rules(policy: Policy, expected: set[int]) -> None:
    """Each rule keeps the newest of as many hours, days, weeks, months or years as it says."""
    assert {f"d{day}" for day in expected} == kept(decide(DAYS, policy, NOW))


def test_reasons() -> None:
    """Each decision says every reason for it."""
    tagged = candidate("t", timedelta(days=50), tags=("gold",))
    told = reasons(decide([*DAYS[:3], tagged], Policy(last=1, daily=2, within=duration("1h"), tags=("gold",)), NOW))
    assert {
        "d0": ("last", "daily 2026-03-31", "within 1h", "newest"),
        "d1": ("daily 2026-03-30",),
        "d2": ("no rule keeps it",),
        "t": ("tag gold",),
    } == told


def test_sources_are_counted_apart() -> None:
    """The rules hold for each source by itself, and decisions come by source, newest first."""
    mixed = [candidate(f"{source}{day}", timedelta(days=day), source) for day in range(3) for source in "ba"]
    found = decide(mixed, Policy(last=1), NOW)
    assert [("a0", True), ("a1", False), ("a2", False), ("b0", True), ("b1", False), ("b2", False)] == [
        (one.candidate.id, one.keep) for one in found
    ]


def test_a_stopped_source_keeps_its_last_week() -> None:
    """`within` reaches back from the source's newest snapshot, however long ago that was."""
    old = [candidate(f"o{day}", timedelta(days=1000 + day)) for day in range(10)]
    assert {"o0", "o1", "o2"} == kept(decide(old, Policy(within=duration("P2D")), NOW))


def test_a_chain_keeps_its_full() -> None:
    """What a kept incremental builds on is kept, and says for whom."""
    chain = [
        candidate("f", timedelta(days=9)),
        candidate("i", timedelta(days=1), kind="incremental", base="f"),
        candidate("g", timedelta(days=8)),
    ]
    assert {"f": ("base of i",), "i": ("last", "newest"), "g": ("no rule keeps it",)} == reasons(
        decide(chain, Policy(last=1), NOW)
    )


def test_bases_that_lie_or_are_lost() -> None:
    """A base that is nowhere, its own, or part of a ring stops nothing."""
    ring = [
        candidate("a", timedelta(0), kind="incremental", base="b"),
        candidate("b", timedelta(1), kind="incremental", base="c"),
        candidate("c", timedelta(2), kind="incremental", base="a"),
        candidate("d", timedelta(3), kind="incremental", base="d"),
        candidate("e", timedelta(4), kind="incremental", base="gone"),
    ]
    assert {"a", "b", "c"} == kept(decide(ring, Policy(last=1), NOW))


def test_checkpoints() -> None:
    """A checkpoint goes once a later snapshot is finished, stays until then, and counts for no rule."""
    mixed = [
        candidate("new", timedelta(hours=1), kind="checkpoint"),
        candidate("full", timedelta(hours=2)),
        candidate("older", timedelta(hours=4)),
        candidate("old", timedelta(hours=3), kind="checkpoint"),
        candidate("alone", timedelta(hours=3), "other", kind="checkpoint"),
    ]
    found = reasons(decide(mixed, Policy(last=2), NOW))
    assert [("unfinished run",), ("unfinished run",), ("superseded checkpoint",), ("last",)] == [
        found[name] for name in ("new", "alone", "old", "older")
    ]


def test_snapshots_from_the_future() -> None:
    """Snapshots dated after now push nothing out: they are kept and not counted."""
    lies = [candidate(f"x{year}", datetime(year, 1, 1, tzinfo=UTC)) for year in range(2027, 2040)]
    policy = Policy(last=2, yearly=1, within=duration("1d"))
    assert {"d0", "d1"} | {one.id for one in lies} == kept(decide([*lies, *DAYS], policy, NOW))


def test_nothing_is_refused() -> None:
    """A policy that keeps nothing is refused; it does as told, checkpoints too, where that is allowed."""
    mixed = [*DAYS, candidate("c", timedelta(-1), kind="checkpoint"), candidate("x", timedelta(-9))]
    with pytest.raises(UsageError, match="keeps nothing"):
        decide(mixed, Policy(), NOW)
    assert set() == kept(decide(mixed, Policy(), NOW, allow_none=True))
    assert {"c", "x"} == kept(decide(mixed, Policy(tags=("none",)), NOW, allow_none=True))


def test_one_snapshot_under_two_roots() -> None:
    """A snapshot that is pinned twice counts once, and both its pins are kept or dropped."""
    twice = [
        Candidate(CID.of(0x55, bytes([copy])), f"d{day}", "s", "full", None, NOW - timedelta(days=day))
        for day in range(3)
        for copy in range(day * 2, day * 2 + 2)
    ]
    found = decide(twice, Policy(last=2), NOW)
    assert [True] * 4 + [False] * 2 == [one.keep for one in found]


def test_zones() -> None:
    """Days are those of the zone that is asked for."""
    pair = [
        candidate("late", datetime(2026, 3, 2, 1, tzinfo=UTC)),
        candidate("early", datetime(2026, 3, 1, 23, tzinfo=UTC)),
    ]
    assert {"late", "early"} == kept(decide(pair, Policy(daily=2), NOW))
    assert {"late"} == kept(decide(pair, Policy(daily=2), NOW, zone=timezone(timedelta(hours=-5))))


def test_the_hour_that_comes_twice() -> None:
    """When clocks go back, the two hours of one name are two hours."""
    night = [candidate(str(hour), datetime(2025, 10, 26, hour, tzinfo=UTC)) for hour in range(3)]
    assert {"0", "1", "2"} == kept(decide(night, Policy(hourly=3), NOW, zone=ZoneInfo("Europe/Berlin")))


def test_the_beginning_of_the_calendar() -> None:
    """A snapshot dated in the year 1 stops nothing."""
    first = candidate("first", datetime.min.replace(tzinfo=UTC))
    policy = Policy(daily=1, within=duration("P1M"))
    assert {"first"} == kept(decide([first], policy, NOW, zone=timezone(timedelta(hours=-5))))


policies = st.builds(
    Policy,
    **{name: st.integers(0, 4) for name in COUNTS},
    within=st.none() | st.sampled_from(["PT3H", "P2D", "P1M", "1y"]).map(duration),
    tags=st.sets(st.sampled_from("xy")).map(lambda tags: tuple(sorted(tags))),
)


@st.composite
def histories(draw: st.DrawFn) -> list[Candidate]:
    """Two sources' snapshots; some build on earlier ones of theirs, or on nothing that is there."""
    found: list[Candidate] = []
    steps = draw(st.lists(st.tuples(st.integers(-3, 30_000), st.integers(0, 5), st.integers(0, 3)), max_size=25))
    for number, (hours, sort, back) in enumerate(steps):
        kind = ("full", "full", "full", "incremental", "incremental", "checkpoint")[sort]
        base = f"n{number - back - 1}" if kind == "incremental" else None
        tags = draw(st.sets(st.sampled_from("xyz")).map(tuple))
        found.append(candidate(f"n{number}", timedelta(hours=hours), "ab"[number % 2], kind, base, tags))
    return found


def oracle(history: list[Candidate], policy: Policy) -> set[str]:
    """Say what is kept by the rules as people would count, one question for each snapshot."""
    keep = set()
    for one in history:
        mine = [other for other in history if other.source == one.source and other.kind != "checkpoint"]
        if one.kind == "checkpoint":
            wanted = all(other.finished <= one.finished for other in mine if other.finished <= NOW)
        elif one.finished > NOW:
            wanted = True
        else:
            counted = sorted(
                (other for other in mine if other.finished <= NOW), key=lambda other: (other.finished, other.id)
            )
            newer = counted[counted.index(one) + 1 :]
            wanted = not newer or len(newer) < policy.last or bool(set(one.tags) & set(policy.tags))
            if policy.within:
                wanted |= one.finished >= policy.within.before(counted[-1].finished)
            for name, length in zip(COUNTS[1:], (13, 10, None, 7, 4), strict=True):
                buckets = [
                    other.finished.isocalendar()[:2] if length is None else other.finished.isoformat()[:length]
                    for other in [one, *newer]
                ]
                wanted |= buckets[0] not in buckets[1:] and len(set(buckets[1:])) < getattr(policy, name)
        if wanted:
            keep.add(one.id)
    bases = {one.id: one.base for one in history}
    while more := {base for name in keep if (base := bases[name]) in bases} - keep:
        keep |= {base for base in more if base is not None}
    return keep


@given(histories(), policies.filter(lambda policy: not policy.is_empty))
def test_as_counted_by_hand(history: list[Candidate], policy: Policy) -> None:
    """What is kept is what counting by hand keeps, and every decision has a reason."""
    found = decide(history, policy, NOW)
    assert oracle(history, policy) == kept(found)
    assert sorted(one.id for one in history) == sorted(one.candidate.id for one in found)
    assert all(one.reasons for one in found)


@given(histories(), policies.filter(lambda policy: not policy.is_empty), st.randoms(use_true_random=False))
def test_order_does_not_matter(history: list[Candidate], policy: Policy, random: Random) -> None:
    """The same snapshots in another order get the same decisions with the same reasons."""
    shuffled = list(history)
    random.shuffle(shuffled)
    assert decide(history, policy, NOW) == decide(shuffled, policy, NOW)


@given(histories(), policies, policies)
def test_a_wider_policy_keeps_no_less(history: list[Candidate], one: Policy, other: Policy) -> None:
    """A policy that asks for more in some rules and for less in none keeps all that the other keeps, and maybe more."""
    within = [limit for limit in (one.within, other.within) if limit]
    wider = Policy(
        **{name: max(getattr(one, name), getattr(other, name)) for name in COUNTS},
        within=min(within, key=lambda limit: limit.before(NOW)) if within else None,
        tags=tuple(sorted({*one.tags, *other.tags})),
    )
    if not one.is_empty:
        assert kept(decide(history, one, NOW)) <= kept(decide(history, wider, NOW))


@given(histories(), policies.filter(lambda policy: not policy.is_empty))
def test_no_chain_is_broken_and_no_source_lost(history: list[Candidate], policy: Policy) -> None:
    """What a kept snapshot builds on is kept, and each source that has a finished snapshot keeps one."""
    stays = kept(decide(history, policy, NOW))
    names = {one.id for one in history}
    assert all(one.base in stays for one in history if one.id in stays and one.base in names)
    finished = [one for one in history if one.kind != "checkpoint"]
    assert {one.source for one in finished} == {one.source for one in finished if one.id in stays}


@given(histories(), policies.filter(lambda policy: not policy.is_empty))
def test_keeping_twice_keeps_the_same(history: list[Candidate], policy: Policy) -> None:
    """Applied again to what it kept, a policy drops nothing more."""
    first = [one for one in decide(history, policy, NOW) if one.keep]
    assert {one.candidate.id for one in first} == kept(decide([one.candidate for one in first], policy, NOW))

"""Which snapshots are kept.  Pure: what there is and a policy in, decisions with their reasons out.

Per source, newest first.  What always holds, whatever the policy:
- a chain never loses its full: whatever a kept snapshot builds on is kept;
- the newest snapshot of a source is kept, so that tightening a policy or stopping a source never
  leaves nothing, unless `allow_none` asks for that;
- a checkpoint goes when a later snapshot was finished, and stays until then: it is all there is of a
  run that was cut off.  Checkpoints count for no rule;
- a snapshot dated after `now` is kept and counts for no rule.  Its agent's clock is wrong or lies: a
  handful of snapshots dated next year would otherwise push all true ones out of "the last seven days".

`within` reaches back from the newest snapshot of the source that is not dated after `now`, not from
`now`: a source that stopped a year ago keeps its last week and does not lose everything to the
calendar.  Two pins of one snapshot (re-rooted, and interrupted before the old root went) count as one.
Source: docs/design.md, "What must always hold"; the rules are restic's, so that people know them.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING, Final

from pinfold.config.settings import Policy
from pinfold.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pinfold.ipld import CID

__all__ = ["Candidate", "Decision", "Policy", "decide"]

_CHECKPOINT: Final = "checkpoint"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A snapshot as far as retention sees it.  `base`: id of the full it builds on; `finished` with a time zone."""

    root: CID
    id: str
    source: str
    kind: str
    base: str | None
    finished: datetime
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a snapshot, and why: what keeps it, or why nothing does."""

    candidate: Candidate
    keep: bool
    reasons: tuple[str, ...]


def decide(
    candidates: Sequence[Candidate],
    policy: Policy,
    now: datetime,
    *,
    zone: tzinfo = UTC,
    allow_none: bool = False,
) -> list[Decision]:
    """One decision for each candidate, by source, newest first; their order does not matter.

    `zone`: whose hours, days and weeks are meant; `allow_none`: a source may lose all its snapshots.
    Raises UsageError for a policy that keeps nothing, unless `allow_none`.
    """
    if policy.is_empty and not allow_none:
        raise UsageError("this policy keeps nothing; say what to keep with --keep-last, --keep-daily, --keep-within …")
    reasons: dict[str, list[str]] = {one.id: [] for one in candidates}
    for group in _by_source(candidates):
        for one, why in _kept(group, policy, now, zone, allow_none=allow_none):
            if why not in reasons[one.id]:
                reasons[one.id].append(why)
    _keep_bases(candidates, reasons)
    return [
        Decision(one, keep=bool(why), reasons=tuple(why) or (_nothing(one),))
        for group in _by_source(candidates)
        for one in group
        for why in [reasons[one.id]]
    ]


def _by_source(candidates: Iterable[Candidate]) -> Iterator[list[Candidate]]:
    groups: defaultdict[str, list[Candidate]] = defaultdict(list)
    for one in candidates:
        groups[one.source].append(one)
    for source in sorted(groups):
        yield sorted(groups[source], key=lambda one: (one.finished, one.id, str(one.root)), reverse=True)


def _kept(
    group: list[Candidate], policy: Policy, now: datetime, zone: tzinfo, *, allow_none: bool
) -> Iterator[tuple[Candidate, str]]:
    """What the rules keep of one source's snapshots, newest first, with a reason each."""
    done = [one for one in group if one.kind != _CHECKPOINT]
    counted = list({one.id: one for one in reversed(done) if one.finished <= now}.values())[::-1]
    if not policy.is_empty:
        yield from (
            (one, "unfinished run") for one in group if one.kind == _CHECKPOINT and not _done_since(counted, one)
        )
        yield from ((one, "dated in the future") for one in done if one.finished > now)
    if not counted:
        return
    for one in counted[: policy.last]:
        yield one, "last"
    for word, most, bucket in _rules(policy):
        yield from _newest_of_each(counted, word, most, bucket, zone)
    if policy.within is not None:
        since = policy.within.before(counted[0].finished)
        yield from ((one, f"within {policy.within}") for one in counted if one.finished >= since)
    for tag in policy.tags:
        yield from ((one, f"tag {tag}") for one in counted if tag in one.tags)
    if not allow_none:
        yield counted[0], "newest"


def _done_since(counted: list[Candidate], checkpoint: Candidate) -> bool:
    return bool(counted) and counted[0].finished > checkpoint.finished


def _rules(policy: Policy) -> tuple[tuple[str, int, str], ...]:
    return (
        ("hourly", policy.hourly, "%Y-%m-%d %H:00 %z"),  # with the offset: clocks that go back have an hour twice
        ("daily", policy.daily, "%Y-%m-%d"),
        ("weekly", policy.weekly, "%G-W%V"),
        ("monthly", policy.monthly, "%Y-%m"),
        ("yearly", policy.yearly, "%Y"),
    )


def _newest_of_each(
    counted: list[Candidate], word: str, most: int, bucket: str, zone: tzinfo
) -> Iterator[tuple[Candidate, str]]:
    seen: set[str] = set()
    for one in counted:
        if len(seen) == most:
            return
        name = _local(one.finished, zone).strftime(bucket)
        if name not in seen:
            seen.add(name)
            yield one, f"{word} {name}"


def _local(moment: datetime, zone: tzinfo) -> datetime:
    try:
        return moment.astimezone(zone)
    except OverflowError:  # in the year 1, where a zone's offset leads out of the calendar
        return moment


def _keep_bases(candidates: Sequence[Candidate], reasons: dict[str, list[str]]) -> None:
    """Whatever a kept snapshot builds on is kept, to the chain's beginning."""
    bases = {one.id: one.base for one in candidates if one.base is not None}
    waiting = sorted(name for name, base in bases.items() if reasons[name])
    seen = set(waiting)
    while waiting:
        name = waiting.pop()
        base = bases[name]
        if base not in reasons:
            continue
        why = reasons[base]
        why.append(f"base of {name}")
        if base in bases and base not in seen:
            seen.add(base)
            waiting.append(base)


def _nothing(one: Candidate) -> str:
    return "superseded checkpoint" if one.kind == _CHECKPOINT else "no rule keeps it"

"""What takes back a run: its own changes the other way round, as far as no one has changed the pairs since. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from bulkshare.model import Entry, IdList, Result, Want

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bulkshare.model import Member, Outcome

    Pair = tuple[str, str]  # image ID, member ID


ACCEPTED_AGAIN = Want.RECEIVED | Want.ACCEPTED | Want.FORCED
STAYS_PENDING = "the project had rejected it, and only the project itself can do so again"
CHANGES = frozenset({Result.SHARED, Result.ACCEPTED, Result.DECLINED, Result.RESET, Result.REMOVED})


class Left(NamedTuple):
    """A pair that is left as it is, and why.

    changed: someone has changed it since, which `force` does not heed.
    """

    image_id: str
    member_id: str
    why: str
    changed: bool = False


@dataclass(frozen=True, slots=True)
class Reversal:
    """What takes back a run on one cloud.

    wants: what is to be done, by pair.
    left: pairs that the run changed and that are left as they are.
    undone: how many of the run's changes are no longer there.
    """

    wants: Mapping[Pair, Want]
    left: tuple[Left, ...]
    undone: int

    def entries(self, cloud: str | None) -> tuple[Entry, ...]:
        """Return entries of a plan that asks for it on a cloud, one for all images with the same projects."""
        members: dict[tuple[str, Want], list[str]] = {}
        for (image_id, member_id), want in self.wants.items():
            members.setdefault((image_id, want), []).append(member_id)
        images: dict[tuple[Want, tuple[str, ...]], list[str]] = {}
        for (image_id, want), member_ids in members.items():
            images.setdefault((want, tuple(member_ids)), []).append(image_id)
        return tuple(
            Entry(IdList(image_ids), IdList(member_ids), want=want, cloud=cloud)
            for (want, member_ids), image_ids in images.items()
        )


def changed_something(outcome: Outcome) -> bool:
    """Whether a run changed a pair, whatever else became of it: it may have added a member that it couldn't accept."""
    return outcome.result in CHANGES or Want.ADDED in outcome.want


def reversal(
    done: Iterable[Outcome],
    members: Mapping[str, Mapping[str, Member]],
    *,
    unlisted: Mapping[str, str],
    later: Mapping[Pair, str],
    force: bool = False,
) -> Reversal:
    """Return what takes back the outcomes of a run.

    done: those for which `changed_something`.
    members: of each image now, by ID.
    unlisted: why the members of other images can't be listed.
    later: the runs that have changed pairs since, by pair.
    force: take back what was changed since as well.
    """
    wants: dict[Pair, Want] = {}
    left: list[Left] = []
    undone = 0
    for outcome in done:
        pair = outcome.image_id, outcome.member_id
        if outcome.image_id in unlisted:
            left.append(Left(*pair, unlisted[outcome.image_id]))
            continue
        member = members[outcome.image_id].get(outcome.member_id)
        want = _opposite(outcome, member)
        if want is None:
            undone += 1
        elif pair in later and not force:
            left.append(Left(*pair, f"changed since by run {later[pair]}", changed=True))
        elif (why := _difference(outcome, member)) and not force:
            left.append(Left(*pair, why, changed=True))
        elif Want.DECLINED in want and Want.RECEIVED not in want:
            left.append(Left(*pair, STAYS_PENDING))
        else:
            wants[pair] = want
    return Reversal(wants, tuple(left), undone)


def _opposite(outcome: Outcome, member: Member | None) -> Want | None:
    """Return what takes back an outcome; None if nothing is left of it."""
    result, was_accepted = outcome.result, Want.WAS_ACCEPTED in outcome.want
    if result is Result.REMOVED:
        if member is not None:
            return None
        return Want.ACCEPTED if was_accepted else Want.MEMBER
    if member is None:
        return None
    own = outcome.want & Want.RECEIVED
    if result is Result.RESET:
        if member.status != "pending":
            return None
        return own | (Want.ACCEPTED if was_accepted else Want.DECLINED)
    if result is Result.DECLINED and was_accepted:
        return ACCEPTED_AGAIN if member.status != "accepted" else None
    if result in {Result.ACCEPTED, Result.DECLINED}:
        return own | Want.RESET if member.status != "pending" else None
    return Want.REMOVE


def _difference(outcome: Outcome, member: Member | None) -> str:
    """Return how a member differs from what the run left; "" if it doesn't."""
    if member is None or outcome.status is None:
        return ""
    if member.status != outcome.status:
        return f"the run left it {outcome.status}, and it is {member.status} now"
    if outcome.updated_at is not None and member.updated_at not in {None, outcome.updated_at}:
        return f"changed since, at {member.updated_at:%Y-%m-%d %H:%M:%S} UTC"
    return ""

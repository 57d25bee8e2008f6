"""What has to hold after a command that may have written, whatever happened to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.lives.model import AS_PLANNED, OPEN_TO_ALL, Todo, Wanted, foresee

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Mapping

    from tests.lives.model import Meaning, Todos
    from tests.lives.world import ImageState, State

Pair = tuple[str, str]  # image ID, project ID
Row = dict[str, Any]
RESULTS = (*sorted(AS_PLANNED), "rejected", "failed", "skipped", "pending")


@dataclass(frozen=True)
class CloudStep:
    """One cloud before and after a command, and what the command's run says about it.

    orders: what the run is for.
    rows, old: the run's pairs now, and before if it was one that was continued.
    fresh: images that need not be looked at again, because all of their pairs were settled as planned a moment ago.
    ended: the command came to the end of its work.
    done: the successful writes, by method.
    """

    orders: Meaning
    before: State
    after: State
    rows: Mapping[Pair, Row]
    old: Mapping[Pair, Row]
    fresh: frozenset[str]
    ended: bool
    done: Counter[str]
    todos: Todos = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "todos", foresee(self.orders, self.before))

    @property
    def looked_at(self) -> Todos:
        """What was to be done about the images that had to be looked at."""
        return {image_id: todo for image_id, todo in self.todos.items() if image_id not in self.fresh}

    # Nothing was done that is not in the plan.

    def check_limits(self, *, blind: bool) -> None:
        """Check that only members that the plan means were added, accepted or removed.

        With `blind` some images were not looked at, and what would have been found out beforehand was tried.
        """
        for image_id, was in self.before.images.items():
            now, wanted = self.after.images[image_id], self.orders.get(image_id, Wanted())
            todo = self.todos.get(image_id, Todo())
            may_add, may_accept, may_remove = todo.add, todo.accept, todo.remove
            if blind:
                may_add = set(wanted.members - wanted.unknown)
                may_accept = set(wanted.accept - wanted.unknown)
                extra = wanted.extra(was)
                may_remove = set(extra) if wanted.allows(len(extra), len(was.members)) else set()
            may_reset = todo.reset | (wanted.reset if blind else set())
            where = f"image {image_id}"
            added, gone = now.members.keys() - was.members.keys(), was.members.keys() - now.members.keys()
            assert added <= may_add, f"{where}: added {added - may_add}"
            assert gone <= may_remove, f"{where}: removed {gone - may_remove}"
            for member_id, status in now.members.items():
                earlier = was.members.get(member_id, "pending")
                if earlier != status and status == "pending":
                    assert member_id in may_reset, f"{where}: {member_id} is pending again"
                elif earlier != status:
                    assert (status, member_id in may_accept) == ("accepted", True), f"{where}: {member_id} is {status}"
                    assert earlier == "pending" or member_id in wanted.force, f"{where}: {member_id} had rejected it"
            if was.visibility != now.visibility:
                assert (was.visibility, now.visibility) == ("private", "shared"), f"{where}: {now.visibility}"
                assert todo.make_shared or (blind and wanted.make_shared), f"{where}: was made shared"
            assert was.status == now.status, f"{where}: {now.status}"

    # The ledger is true, and has everything.

    def check_rows(self) -> None:
        """Check that each row agrees with the cloud, and that each change has a row."""
        for pair, row in self.rows.items():
            self._check_row(pair, row, self.after.images.get(pair[0]))
        for image_id, was in self.before.images.items():
            now = self.after.images[image_id]
            for member_id in now.members.keys() - was.members.keys():
                result = self.rows.get((image_id, member_id), {}).get("result", "no row")
                known = {"shared", "already", "accepted", "pending", "failed", "rejected"}
                assert result in known, f"image {image_id}: {member_id} was added, and has {result}"
            for member_id in was.members.keys() - now.members.keys():
                result = self.rows.get((image_id, member_id), {}).get("result", "no row")
                known = {"removed", "absent", "pending", "failed"}
                assert result in known, f"image {image_id}: {member_id} was removed, and has {result}"

    def _check_row(self, pair: Pair, row: Row, image: ImageState | None) -> None:
        image_id, member_id = pair
        result, where = row["result"], f"image {image_id} project {member_id}: to {row['action']}, {row['result']}"
        assert result != "pending" or not self.ended, f"{where}, and the command has ended"
        if result in {"rejected", "failed", "skipped"}:
            assert row["reason"], f"{where}, and no reason"
        if row == self.old.get(pair) and (image_id in self.fresh or not self.ended):
            return  # what was settled before need not have been looked at again
        there = image is not None and image.visibility == "shared" and member_id in image.members
        if result in {"shared", "already", "accepted"}:
            to_all = result == "already" and image is not None and image.visibility in OPEN_TO_ALL
            assert there or to_all, f"{where}, but is not there"
        if result in {"removed", "absent"}:
            assert not there, f"{where}, but is there"
        accept = self.orders.get(image_id, Wanted()).accept
        if result in {"shared", "accepted"} and member_id in accept and image is not None:
            assert image.members[member_id] in {"accepted", "rejected"}, f"{where}, but is not accepted"

    # Exit code 0 is true.

    def check_as_planned(self) -> None:
        """Check that the cloud is as the run's orders want it."""
        for image_id, now in foresee(self.orders, self.after).items():
            todo = self.looked_at.get(image_id)
            if todo is None:
                continue
            if todo.make_shared:  # its former members are back, and only the next run finds them
                now.remove = set()
                now.refused -= todo.hidden.keys()
            assert not now.changes, f"exit 0, and image {image_id} is not as planned: {now}"
            assert not now.problems, f"exit 0, and image {image_id} can't be as planned: {now}"

    # An undisturbed command does exactly what is foreseen.

    def check_exactly(self) -> None:
        """Check that all that was foreseen was done, that the rows say so, and that no more was sent than it takes."""
        for image_id, todo in self.looked_at.items():
            self._check_image(image_id, todo, self.after.images.get(image_id))
            for member_id, results in self._results(image_id, todo).items():
                row = self.rows.get((image_id, member_id))
                assert row is not None, f"image {image_id}: no row for {member_id}"
                assert row["result"] in results, f"{row['result']}, not {sorted(results)}: {row}"
            others = {member for image, member in self.rows if image == image_id} - todo.everyone
            for member_id in others:
                row = self.rows[image_id, member_id]
                known = (image_id, member_id) in self.old and row["action"] == "remove"
                assert known or row["result"] == "absent", f"a row that the plan has nothing of: {row}"
        if not self.fresh and all(todo.all_fit for todo in self.todos.values()):
            foreseen = {
                "POST": sum(len(todo.new) for todo in self.todos.values()),
                "DELETE": sum(len(todo.remove) for todo in self.todos.values()),
                "PATCH": sum(todo.make_shared for todo in self.todos.values()),
            }
            done = {method: self.done[method] for method in foreseen}
            assert done == foreseen, f"writes: {done}, foreseen: {foreseen}"

    def _check_image(self, image_id: str, todo: Todo, now: ImageState | None) -> None:
        if now is None:
            return
        where = f"image {image_id}"
        added = self._added(image_id)
        if todo.all_fit:
            assert added == todo.new, f"{where}: added {added}, foreseen {todo.new}"
        else:
            assert len(added) <= (todo.most or 0), f"{where}: more members than the cloud's quota"
        if todo.make_shared:
            assert now.visibility == "shared", f"{where}: was not made shared"
        assert not todo.remove & now.members.keys(), f"{where}: {todo.remove & now.members.keys()} not removed"
        for member_id in todo.reset:
            assert now.members[member_id] == "pending", f"{where}: {member_id} is not pending again"
        for member_id in (todo.accept - todo.add) | (todo.accept & added):
            assert now.members[member_id] == "accepted", f"{where}: {member_id} is not accepted"

    def _added(self, image_id: str) -> set[str]:
        was, now = self.before.images.get(image_id), self.after.images.get(image_id)
        return set() if was is None or now is None else set(now.members.keys() - was.members.keys())

    def _results(self, image_id: str, todo: Todo) -> dict[str, set[str]]:
        """Return the results that the pairs of an image may have."""
        no = {"skipped", "rejected"}
        found = {member_id: no for member_id in todo.refused | todo.unlisted}  # noqa: C420  they are not changed
        found |= {member_id: {"already", *self._earlier(image_id, member_id)} for member_id in todo.satisfied}
        found |= {member_id: {"removed"} for member_id in todo.remove}
        found |= {member_id: {"reset"} for member_id in todo.reset}
        # Of a run that was interrupted after it had added a member, and before it had accepted.
        late = {"shared"} if self.old else set()
        found |= {member_id: {"accepted"} | late for member_id in todo.accept - todo.add}
        found |= {member_id: {"rejected"} for member_id in todo.unaccepted - todo.add}
        added = self._added(image_id)
        for member_id in todo.add:
            hidden = {"already", "accepted"} if todo.all_fit else {"already", "accepted"} | no
            found[member_id] = {"shared"} if member_id in added else hidden if member_id in todo.hidden else no
            if member_id in todo.unaccepted:
                found[member_id] = found[member_id] - {"shared"} | {"rejected"}
        return found

    def _earlier(self, image_id: str, member_id: str) -> set[str]:
        """Return the result that the run had for a pair before, if it was as planned."""
        return {self.old.get((image_id, member_id), {}).get("result", "")} & AS_PLANNED

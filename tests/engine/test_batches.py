"""Batches: whatever a job says, the ledger and the members come out the same."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkshare.errors import CredentialsRefusedError
from bulkshare.model import Batch, Fault, FaultKind, Limits, Response, Result, Step, Want
from bulkshare.model.events import BatchesUnsupported
from tests.engine.fakes import response
from tests.engine.harness import EngineHarness
from tests.engine.ims_cloud import ImsCloud, Job

if TYPE_CHECKING:
    from bulkshare.engine import Engine
    from bulkshare.model import Reply, Request

LIMITS = Limits(concurrency=8, per_image=4, members_per_image=0, batch=10, jobs=3)


def harness(cloud: ImsCloud | None = None, limits: Limits = LIMITS) -> tuple[EngineHarness, ImsCloud]:
    """Return an engine that sends batches, and its cloud."""
    cloud = cloud or ImsCloud()
    return EngineHarness(cloud=cloud, limits=limits, batches=True), cloud


def planned(engine: EngineHarness) -> set[tuple[str, str]]:
    """Return the pairs that are to be members."""
    return {pair for pair, row in engine.ledger.rows.items() if Want.REMOVE not in row.want}


def test_pairs_are_shared_in_batches_of_one_image() -> None:
    """Each batch has up to `batch` projects; nothing is sent pair by pair, and no batch is left in the ledger."""
    engine, cloud = harness()
    engine.plan(2, 25)
    engine.run()
    assert engine.totals() == {Result.SHARED: 50}
    assert sorted(len(projects) for _, _, projects in cloud.batches) == [5, 5, 10, 10, 10, 10]
    assert all(len(images) == 1 for _, images, _ in cloud.batches)
    assert cloud.native("POST") == 0
    assert cloud.members == planned(engine)
    assert not engine.ledger.batches
    assert engine.observer.phases[-1] == ("sharing", 50)


def test_images_that_miss_the_same_few_projects_share_a_batch() -> None:
    """Nine images with three projects each fit in three batches."""
    engine, cloud = harness()
    engine.plan(9, 3)
    engine.run()
    assert engine.totals() == {Result.SHARED: 27}
    assert [(len(images), len(projects)) for _, images, projects in cloud.batches] == [(3, 3)] * 3


def test_who_is_a_member_is_not_sent_again() -> None:
    """A second night sends one GET for each image, and no batch."""
    engine, cloud = harness()
    engine.plan(3, 12)
    engine.run()
    cloud.batches.clear()
    engine.again()
    engine.run()
    assert engine.totals() == {Result.ALREADY: 36}
    assert not cloud.batches
    assert {request.method for _, request in cloud.sent} == {"GET"}


def test_members_are_removed_in_batches() -> None:
    """The list shows that they are gone."""
    engine, cloud = harness()
    engine.ledger.enqueue_all([("i00", f"p{number:03}") for number in range(14)], Want.REMOVE)
    cloud.members = {("i00", f"p{number:03}") for number in range(20)}
    engine.orders = {}
    engine.run()
    assert engine.totals() == {Result.REMOVED: 14}
    assert [method for method, _, _ in cloud.batches] == ["DELETE", "DELETE"]
    assert len(cloud.members) == 6


@pytest.mark.parametrize("fails_partly", [True, False])
@pytest.mark.parametrize("older_jobs", [True, False])
def test_what_a_job_leaves_out_gets_a_request_of_its_own(*, fails_partly: bool, older_jobs: bool) -> None:
    """Whether the job succeeds or fails is the same: the list of members decides, after a second look."""
    undone = {("i00", "p003"), ("i00", "p007")}
    engine, cloud = harness(ImsCloud(undone=undone, fails_partly=fails_partly, older_jobs=older_jobs))
    engine.plan(1, 10)
    engine.run()
    assert engine.totals() == {Result.SHARED: 10}
    assert cloud.native("POST") == 2
    assert cloud.members == planned(engine)


def test_a_pair_of_its_own_gets_its_own_reason() -> None:
    """A project that no request can add is rejected with the reason of its own request."""
    engine, cloud = harness(ImsCloud(undone={("i00", "p003")}))

    cloud.script = lambda request, _: (
        _refused("IMG.0108") if request.method == "POST" and b"p003" in (request.body or b"") else None
    )
    engine.plan(1, 10)
    engine.run()
    assert engine.totals() == {Result.SHARED: 9, Result.REJECTED: 1}
    (reason,) = engine.reasons()
    assert "IMG.0108" in reason
    assert "no such project in this region" in reason


def _refused(code: str) -> Response:
    return response(400, {"error": {"code": code, "message": "refused"}})


def test_a_bad_project_is_found_by_halving() -> None:
    """The others of its batch are shared; the number of batches is about twice the logarithm."""
    engine, cloud = harness(
        ImsCloud(refusals=[("IMG.0108", lambda _, projects: "p013" in projects)]), replace(LIMITS, batch=64)
    )
    engine.plan(1, 64)
    engine.run()
    assert engine.totals() == {Result.SHARED: 63, Result.REJECTED: 1}
    assert engine.ledger.rows["i00", "p013"].result is Result.REJECTED
    assert len(cloud.batches) == 13
    assert cloud.native("POST") == 0


def test_a_bad_image_does_not_spoil_the_others_of_its_batch() -> None:
    """A batch of several images that is refused is sent image by image."""
    engine, cloud = harness(ImsCloud(refusals=[("IMG.0046", lambda images, _: "i01" in images)]))
    engine.plan(3, 3)
    engine.run()
    assert engine.totals() == {Result.SHARED: 6, Result.REJECTED: 3}
    assert {pair[0] for pair, row in engine.ledger.rows.items() if row.result is Result.REJECTED} == {"i01"}
    assert cloud.native("POST") == 0


def test_a_missing_right_ends_the_run() -> None:
    """Every pair would get the same answer."""
    engine, cloud = harness(ImsCloud(refusals=[("IMG.0026", lambda _images, _projects: True)]))
    engine.plan(3, 20)
    with pytest.raises(CredentialsRefusedError, match="ims:images:share"):
        engine.run()
    assert len(cloud.batches) <= LIMITS.jobs


def test_a_region_without_batches_is_shared_pair_by_pair() -> None:
    """That is said once, and batches aren't tried again."""
    engine, cloud = harness(ImsCloud(no_batches=True))
    said: list[BatchesUnsupported] = []
    notify = engine.observer.notify
    engine.observer.notify = lambda event: (  # type: ignore[method-assign]
        said.append(event) if isinstance(event, BatchesUnsupported) else notify(event)
    )
    engine.plan(4, 12)
    engine.ledger.enqueue_all([("i00", "gone")], Want.REMOVE)
    cloud.members = {("i00", "gone")}
    engine.run()
    assert engine.totals() == {Result.SHARED: 48, Result.REMOVED: 1}
    assert cloud.native("POST") == 48
    assert len(said) == 1
    assert not engine.ledger.batches


def test_a_region_without_batches_is_asked_to_accept_one_once() -> None:
    """Also where nothing has to be added before."""
    engine, cloud = harness(ImsCloud(no_batches=True), replace(LIMITS, jobs=1))
    engine.plan(6, 4, Want.ACCEPTED | Want.AS_PROJECT)
    cloud.members = {(f"i{image:02}", f"p{project:03}") for image in range(6) for project in range(4)}
    engine.run()
    assert engine.totals() == {Result.ACCEPTED: 24}
    assert sum(request.path == "/v1/cloudimages/members" for _, request in cloud.sent) == 1


def test_a_lost_answer_is_not_sent_again_blindly() -> None:
    """A job may be running: the list shows what it did, and the pairs count as shared by this run."""
    engine, cloud = harness(ImsCloud(loses=1))
    engine.plan(1, 10)
    engine.run()
    assert engine.totals() == {Result.SHARED: 10}
    assert len(cloud.batches) == 1


def test_a_job_that_is_never_found_ends_with_the_list() -> None:
    """After ten minutes of polls that tell nothing."""
    engine, cloud = harness(ImsCloud(forgets_jobs=True))
    engine.plan(1, 10)
    engine.run()
    assert engine.totals() == {Result.SHARED: 10}
    assert cloud.native("POST") == 0
    assert 60 < cloud.polls < 200


def test_polls_come_when_jobs_usually_end() -> None:
    """The first jobs are asked for twice, later ones mostly once; jobs that have become slower are waited for."""
    engine, cloud = harness(limits=replace(LIMITS, jobs=1))
    engine.plan(20, 10)
    engine.run()
    assert len(cloud.batches) == 20
    assert cloud.polls <= 26
    engine.again()
    cloud.members, cloud.job_seconds = set(), 9.0
    cloud.batches.clear()
    engine.run()
    assert engine.totals() == {Result.SHARED: 200}


def test_a_batch_whose_images_can_not_be_listed_is_kept() -> None:
    """Its answer was lost and its job may still run: the pairs fail, and the run that goes on finds out, unsent."""
    engine, cloud = harness(ImsCloud(loses=1, job_seconds=9.0))
    engine.plan(1, 10)
    cloud.script = lambda request, _: (
        response(403, {"message": "no"})
        if request.method == "GET" and cloud.batches and "/members" in request.path
        else None
    )
    engine.run()
    assert engine.totals() == {Result.FAILED: 10}
    assert [batch.member_ids for batch in engine.ledger.batches.values()] == [tuple(cloud.batches[0][2])]
    cloud.script = lambda _request, _count: None
    for pair, row in engine.ledger.rows.items():  # as a run is reopened
        engine.ledger.rows[pair] = row._replace(result=Result.PENDING)
    engine.run()
    assert engine.totals() == {Result.SHARED: 10}
    assert len(cloud.batches) == 1
    assert cloud.native("POST") == 0
    assert not engine.ledger.batches


@pytest.mark.parametrize(
    "path", ["/v1/cloudimages/quota", "/v1/cloudimages/job/", "/v1/ours/jobs/"], ids=["quota", "job", "older job"]
)
@pytest.mark.parametrize("code", ["IMG.0026", "IMG.0030", "APIGW.0302"])
def test_a_right_that_is_missing_for_a_question_ends_nothing(path: str, code: str) -> None:
    """Whether our user may share shows in what changes members. The quota is unknown then; the job is waited for."""
    engine, cloud = harness(limits=replace(LIMITS, members_per_image=None))
    cloud.own_script = lambda request: (
        response(403, {"error": {"code": code, "message": "no"}}) if request.path.startswith(path) else None
    )
    cloud.older_jobs = path.startswith("/v1/ours")
    engine.plan(1, 10)
    engine.run()
    assert engine.totals() == {Result.SHARED: 10}


def test_members_to_be_accepted_are_shared_by_this_run() -> None:
    """A batch adds, and each membership is accepted; the result is not `accepted`, which means others' members."""
    engine, cloud = harness()
    engine.plan(1, 10, Want.ACCEPTED)
    engine.run()
    assert engine.totals() == {Result.SHARED: 10}
    assert set(cloud.statuses.values()) == {"accepted"}
    assert cloud.native("PUT") == 10


@pytest.mark.parametrize("unaccepted", [set(), {("i01", "p000"), ("i05", "p002")}])
def test_many_images_are_accepted_for_a_member_at_once(unaccepted: set[tuple[str, str]]) -> None:
    """A batch for each member, on its behalf; what the lists don't show as accepted gets a request of its own."""
    engine, cloud = harness(ImsCloud())
    cloud.undone_accepts = unaccepted
    engine.plan(7, 3, Want.ACCEPTED | Want.AS_PROJECT)
    cloud.members = before = {("i00", "p000"), ("i01", "p001")}
    engine.run()
    assert [len(images) for method, images, _ in cloud.batches if method == "PUT"] == [7, 7, 7]
    assert cloud.native("PUT") == len(unaccepted)
    assert set(cloud.statuses.values()) == {"accepted"}
    results = engine.ledger.results()
    assert {pair for pair, result in results.items() if result is Result.ACCEPTED} == before
    assert engine.totals() == {Result.SHARED: 19, Result.ACCEPTED: 2}
    assert not engine.ledger.batches


def test_a_few_images_are_accepted_one_by_one() -> None:
    """A batch would take more requests."""
    engine, cloud = harness()
    engine.plan(2, 3, Want.ACCEPTED | Want.AS_PROJECT)
    engine.run()
    assert engine.totals() == {Result.SHARED: 6}
    assert cloud.native("PUT") == 6


def test_an_accepting_batch_that_was_cut_off_is_found_again() -> None:
    """What its job accepted is this run's doing, also where the membership is older."""
    engine, cloud = harness()
    engine.plan(6, 1, Want.ACCEPTED | Want.AS_PROJECT)
    images = tuple(f"i{number:02}" for number in range(6))
    cloud.members = {(image, "p000") for image in images}
    cloud.jobs["job-9"] = Job(5.0, "PUT", sorted(cloud.members))
    engine.ledger.batches[3] = Batch(3, Step.ACCEPT, images, ("p000",), "job-9")
    engine.run()
    assert engine.totals() == {Result.ACCEPTED: 6}
    assert not cloud.batches
    assert cloud.native("PUT") == 0


def test_a_batch_that_was_cut_off_is_found_again() -> None:
    """A process was killed while a job ran: the next one waits for the job, and the pairs are this run's."""
    engine, cloud = harness()
    engine.plan(1, 10)
    pairs = [("i00", f"p{number:03}") for number in range(10)]
    cloud.jobs["job-9"] = Job(5.0, "POST", pairs)
    engine.ledger.batches[1] = Batch(1, Step.ADD, ("i00",), tuple(member for _, member in pairs), "job-9")
    engine.run()
    assert engine.totals() == {Result.SHARED: 10}
    assert not cloud.batches
    assert not engine.ledger.batches


def test_a_batch_without_a_known_answer_is_found_again() -> None:
    """Killed between the request and its answer: what the list shows is this run's, the rest is sent."""
    engine, cloud = harness()
    engine.plan(1, 10)
    cloud.members = {("i00", f"p{number:03}") for number in range(4)}
    engine.ledger.batches[1] = Batch(1, Step.ADD, ("i00",), tuple(f"p{number:03}" for number in range(10)))
    engine.run()
    assert engine.totals() == {Result.SHARED: 10}
    assert [len(projects) for _, _, projects in cloud.batches] == [6]


def test_a_stop_leaves_the_batch_in_the_ledger() -> None:
    """Its job runs on without us; the pairs are pending, and the next run looks."""
    engine, cloud = harness(ImsCloud(job_seconds=60.0))

    async def stop(running: Engine) -> None:
        await anyio.sleep(3.0)
        running.stop()

    engine.plan(1, 10)
    engine.run(beside=stop)
    assert engine.totals() == {Result.PENDING: 10}
    assert [batch.job_id for batch in engine.ledger.batches.values()] == ["job-0"]
    engine.run()
    assert engine.totals() == {Result.SHARED: 10}
    assert len(cloud.batches) == 1


@pytest.mark.parametrize("removals", [False, True])
def test_what_was_settled_before_a_kill_stays_so(*, removals: bool) -> None:
    """Killed between the outcomes and the end of the batch; then the list of members can't be had."""
    engine, cloud = harness()
    want, done = (Want.REMOVE, Result.REMOVED) if removals else (Want.MEMBER, Result.SHARED)
    engine.plan(1, 4, want)
    for number in range(3):
        row = engine.ledger.rows["i00", f"p{number:03}"]
        engine.ledger.rows["i00", f"p{number:03}"] = row._replace(result=done)
    members = tuple(f"p{number:03}" for number in range(4))
    engine.ledger.batches[1 + removals] = Batch(1 + removals, Step.REMOVE if removals else Step.ADD, ("i00",), members)
    cloud.script = lambda request, _: response(500, {"message": "no"}) if "/members" in request.path else None
    engine.run()
    assert engine.totals() == {done: 3, Result.FAILED: 1}
    assert engine.ledger.batches, "its job may still run"


def test_batches_that_were_cut_off_are_waited_for_side_by_side() -> None:
    """As many as may run at once: six of ten seconds each take no longer than two."""
    engine, cloud = harness()
    engine.plan(6, 10)
    members = tuple(f"p{number:03}" for number in range(10))
    for number in range(6):
        image = f"i{number:02}"
        cloud.jobs[f"job-{number}"] = Job(1010.0, "POST", [(image, member) for member in members])
        engine.ledger.batches[2 * number + 1] = Batch(2 * number + 1, Step.ADD, (image,), members, f"job-{number}")
    engine.run()
    assert engine.totals() == {Result.SHARED: 60}
    assert not cloud.batches
    assert not engine.ledger.batches
    assert cloud.sent[-1][0] - cloud.sent[0][0] < 30.0


def test_a_lost_answer_to_an_accepting_batch_is_not_sent_again_blindly() -> None:
    """Its job is waited for, without an ID: no request of its own meets it."""
    engine, cloud = harness(ImsCloud(loses=1, job_seconds=9.0))
    engine.plan(6, 1, Want.ACCEPTED | Want.AS_PROJECT)
    cloud.members = {(f"i{number:02}", "p000") for number in range(6)}
    engine.run()
    assert engine.totals() == {Result.ACCEPTED: 6}
    assert len(cloud.batches) == 1
    assert cloud.native("PUT") == 0


def test_a_batch_that_never_arrived_is_sent_once_more() -> None:
    """A cut connection, and nothing is done half a minute later: pair by pair would take a hundred times as long."""
    engine, cloud = harness()
    lost = 0

    def lose(request: Request) -> Reply | None:
        nonlocal lost
        if request.method != "POST" or lost == 2:
            return None
        lost += 1
        return Fault(FaultKind.LOST, "the connection was lost")

    cloud.own_script = lose
    engine.plan(1, 30)
    engine.run()
    assert engine.totals() == {Result.SHARED: 30}
    assert len(cloud.batches) == 2, "of the three, the first was lost twice and goes out pair by pair"
    assert cloud.native("POST") == 10


@pytest.mark.parametrize("accepting", [False, True])
def test_an_image_that_can_not_be_listed_does_not_spoil_the_others_of_its_batch(*, accepting: bool) -> None:
    """Of its pairs it isn't known whether they were added; that of an acceptance is told by its own request."""
    engine, cloud = harness()
    cloud.script = lambda request, _: (
        response(403, {"message": "no"})
        if request.method == "GET" and cloud.batches and "i01/members" in request.path
        else None
    )
    engine.plan(6, 1, Want.ACCEPTED | Want.AS_PROJECT if accepting else Want.MEMBER)
    if accepting:
        cloud.members = {(f"i{number:02}", "p000") for number in range(6)}
    engine.run()
    assert len(cloud.batches) == 1
    if accepting:
        assert engine.totals() == {Result.ACCEPTED: 6}
        assert cloud.native("PUT") == 1
        assert {row.http_status for row in engine.ledger.rows.values()} == {200}
    else:
        assert engine.totals() == {Result.SHARED: 5, Result.FAILED: 1}
        assert engine.ledger.rows["i01", "p000"].result is Result.FAILED
        assert engine.ledger.batches


def test_no_more_jobs_than_allowed_at_once() -> None:
    """Ten images, three jobs."""
    engine, cloud = harness()
    most = 0
    start = cloud._start

    def counting(request: Request) -> Reply:
        nonlocal most
        reply = start(request)
        most = max(most, sum(not job.done for job in cloud.jobs.values()))
        return reply

    cloud._start = counting  # type: ignore[method-assign]
    engine.plan(10, 8)
    engine.run()
    assert engine.totals() == {Result.SHARED: 80}
    assert most == LIMITS.jobs


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_ledger_and_members_agree_whatever_the_service_does(data: st.DataObject) -> None:
    """Batches, jobs and refusals in any mixture: members = plan less what was refused = ledger."""
    images = data.draw(st.integers(1, 4), "images")
    projects = data.draw(st.integers(1, 13), "projects")
    every = [(f"i{i:02}", f"p{p:03}") for i in range(images) for p in range(projects)]
    some = st.sets(st.sampled_from(every))
    bad_projects = data.draw(st.sets(st.sampled_from([pair[1] for pair in every]), max_size=2), "bad projects")
    bad_images = data.draw(st.sets(st.sampled_from([pair[0] for pair in every]), max_size=1), "bad images")
    cloud = ImsCloud(
        undone=data.draw(some, "undone"),
        fails_partly=data.draw(st.booleans()),
        older_jobs=data.draw(st.booleans()),
        loses=data.draw(st.integers(0, 2)),
        no_batches=data.draw(st.booleans()),
        job_seconds=data.draw(st.sampled_from([0.1, 2.5, 7.0])),
        refusals=[
            ("IMG.0066", lambda images, _: not bad_images.isdisjoint(images)),
            ("IMG.0108", lambda _, projects: not bad_projects.isdisjoint(projects)),
        ],
    )
    cloud.members = before = data.draw(some, "members before")

    def script(request: Request, _count: int) -> Response | None:
        if request.method != "POST":
            return None
        if request.path.split("/")[3] in bad_images:
            return _refused("IMG.0066")
        if any(project.encode() in (request.body or b"") for project in bad_projects):
            return _refused("IMG.0108")
        return None

    cloud.script = script
    engine, _ = harness(cloud, replace(LIMITS, batch=data.draw(st.integers(1, 12), "batch")))
    engine.plan(images, projects)
    if data.draw(st.booleans(), "stopped in between"):
        engine.deadline_seconds = data.draw(st.floats(0.0, 12.0), "deadline")
        engine.run()
        engine.deadline_seconds = float("inf")
    engine.run()
    refused = {pair for pair in every if pair[0] in bad_images or pair[1] in bad_projects} - before
    assert cloud.members == set(every) - refused
    results = engine.ledger.results()
    assert {pair for pair, result in results.items() if result is Result.ALREADY} == before
    assert {pair for pair, result in results.items() if result is Result.SHARED} == set(every) - refused - before
    assert {pair for pair, result in results.items() if result in {Result.REJECTED, Result.SKIPPED}} == refused
    assert not engine.ledger.batches

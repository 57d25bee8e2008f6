"""The members of an image: https://docs.openstack.org/api-ref/image/v2/#sharing, and what Glance does beyond it."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from tests.contract.client import NO_TOKEN, REQUEST_ID, TIMESTAMP, members_path, refusal

if TYPE_CHECKING:
    from tests.cloud import Answer, CloudUnderTest
    from tests.contract.client import Client

UNKNOWN = "00000000-0000-4000-8000-000000000000"
UNAUTHORIZED = (
    "This server could not verify that you are authorized to access the document you requested. Either you supplied "
    "the wrong credentials (e.g., bad password), or your browser does not understand how to supply the credentials "
    "required."
)


def not_authorized(action: str) -> tuple[int, str]:
    """Return the refusal of a policy."""
    return 403, f"You are not authorized to complete {action} action."


def not_found(image_id: str) -> tuple[int, str]:
    """Return the refusal for an image that isn't there, or isn't for this user."""
    return 404, f"Image {image_id} not found."


def not_a_member(member_id: str, image_id: str) -> tuple[int, str]:
    """Return the refusal for a member that the image doesn't have."""
    return 404, f"{member_id} not found in the member list of the image {image_id}."


def over_quota(image_id: str, quota: int) -> tuple[int, str]:
    """Return the refusal of a member too many."""
    limit = "The limit has been exceeded on the number of allowed image members for this image."
    attempt = f"Attempted: {quota + 1}, Maximum: {quota}:"
    return 413, f"Image member limit exceeded for image {image_id}: {limit} {attempt}"


def assert_unauthorized(answer: Answer, cloud: CloudUnderTest) -> None:
    """Assert a 401 as keystonemiddleware gives it: the one refusal without a request ID."""
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == f'Keystone uri="{cloud.auth_url}"'
    assert "x-openstack-request-id" not in answer.headers
    assert answer.json() == {
        "message": f"{UNAUTHORIZED}<br /><br />\n\n\n",
        "code": "401 Unauthorized",
        "title": "Unauthorized",
    }


class TestAdd:
    """POST /v2/images/{image}/members."""

    @pytest.mark.parametrize("user", ["alice", "admin"])
    async def test_owner_and_admin_may(self, cloud: CloudUnderTest, client: Client, user: str) -> None:
        """The owner and the admin add a member, and get all its fields."""
        image_id, member_id = cloud.create_image(), cloud.project_id("bob")
        answer = await client.add(image_id, member_id, user=user)
        assert answer.status == 200
        assert answer.headers["content-type"] == "application/json"
        assert REQUEST_ID.fullmatch(answer.headers["x-openstack-request-id"])
        member = answer.json()
        assert TIMESTAMP.fullmatch(member["created_at"])
        assert member == {
            "member_id": member_id,
            "image_id": image_id,
            "status": "pending",
            "created_at": member["created_at"],
            "updated_at": member["created_at"],
            "schema": "/v2/schemas/member",
        }
        assert cloud.member_ids(image_id) == [member_id]

    async def test_queued_image(self, cloud: CloudUnderTest, client: Client) -> None:
        """An image that has no data yet can be shared."""
        assert (await client.add(cloud.create_image(active=False), "p")).status == 200

    @pytest.mark.parametrize("member_id", ["no such project", "a/b", "Ünïcode 中文", "x" * 255, " p "])
    async def test_any_text_is_a_member(self, cloud: CloudUnderTest, client: Client, member_id: str) -> None:
        """Glance never asks Keystone whether a project exists, and keeps its ID as it is."""
        image_id = cloud.create_image()
        answer = await client.add(image_id, member_id)
        assert (answer.status, answer.json()["member_id"]) == (200, member_id)
        assert cloud.member_ids(image_id) == [member_id]

    async def test_owner_as_member(self, cloud: CloudUnderTest, client: Client) -> None:
        """An image can be shared with its own owner."""
        assert (await client.add(cloud.create_image(), cloud.project_id("alice"))).status == 200

    @pytest.mark.parametrize("status", ["pending", "accepted", "rejected"])
    async def test_twice(self, cloud: CloudUnderTest, client: Client, status: str) -> None:
        """A member of any status is a duplicate, and stays as it was."""
        image_id, member_id = cloud.create_image(), cloud.project_id("bob")
        await client.add(image_id, member_id)
        before = (await client.set_status(image_id, member_id, status, user="bob")).json()
        again = await client.add(image_id, member_id)
        assert refusal(again) == (409, f"Member {member_id} is duplicated for image {image_id}")
        assert cloud.members(image_id) == [before]

    @pytest.mark.parametrize("member_id", ["m0", "one more"])
    async def test_over_quota(self, cloud: CloudUnderTest, client: Client, full_image: str, member_id: str) -> None:
        """A full image refuses every member alike: the quota is checked before the duplicate."""
        answer = await client.add(full_image, member_id)
        assert refusal(answer) == over_quota(full_image, cloud.image_member_quota)

    @pytest.mark.parametrize("image_id", [UNKNOWN, "no-uuid"])
    async def test_unknown_image(self, client: Client, image_id: str) -> None:
        """There is no such image, whatever its ID looks like."""
        assert refusal(await client.add(image_id, "p")) == not_found(image_id)

    @pytest.mark.parametrize("user", ["alice", "rita", "admin"])
    @pytest.mark.parametrize("visibility", ["private", "community", "public"])
    async def test_not_shared(self, cloud: CloudUnderTest, client: Client, visibility: str, user: str) -> None:
        """Only images of visibility `shared` can have members, whoever asks."""
        image_id = cloud.create_image(visibility=visibility)
        answer = await client.add(image_id, "p", user=user)
        assert refusal(answer) == (403, f"Not allowed to create members for image {image_id}.")

    @pytest.mark.parametrize("visibility", ["community", "public"])
    async def test_stranger_who_sees_the_image(self, cloud: CloudUnderTest, client: Client, visibility: str) -> None:
        """A stranger hears of the visibility, too, where they can see the image."""
        image_id = cloud.create_image(visibility=visibility)
        answer = await client.add(image_id, "p", user="bob")
        assert refusal(answer) == (403, f"Not allowed to create members for image {image_id}.")

    @pytest.mark.parametrize("visibility", ["private", "shared"])
    async def test_stranger(self, cloud: CloudUnderTest, client: Client, visibility: str) -> None:
        """An image that the user can't see doesn't exist."""
        image_id = cloud.create_image(visibility=visibility)
        assert refusal(await client.add(image_id, "p", user="bob")) == not_found(image_id)

    @pytest.mark.parametrize("status", ["pending", "accepted"])
    async def test_member_may_not(self, cloud: CloudUnderTest, client: Client, status: str) -> None:
        """A member sees the image but can't share it further."""
        image_id, member_id = cloud.create_image(), cloud.project_id("bob")
        await client.add(image_id, member_id)
        await client.set_status(image_id, member_id, status, user="bob")
        assert refusal(await client.add(image_id, "p", user="bob")) == not_authorized("add_member")

    async def test_reader_may_not(self, cloud: CloudUnderTest, client: Client) -> None:
        """A reader of the owning project can't share its images."""
        assert refusal(await client.add(cloud.create_image(), "p", user="rita")) == not_authorized("add_member")

    @pytest.mark.parametrize("token", [NO_TOKEN, "bogus"])
    async def test_without_a_valid_token(self, cloud: CloudUnderTest, client: Client, token: str) -> None:
        """Nobody is told anything without a token, not even whether the image exists."""
        for image_id in (cloud.create_image(), UNKNOWN):
            answer = await client.ask("POST", members_path(image_id), token=token, body={"member": "p"})
            assert_unauthorized(answer, cloud)

    @pytest.mark.parametrize("member_id", ["", None, {}, []])
    async def test_empty_member(self, cloud: CloudUnderTest, client: Client, member_id: object) -> None:
        """A member can't be empty."""
        assert refusal(await client.add(cloud.create_image(), member_id)) == (400, "Member can't be empty")

    @pytest.mark.parametrize("member_id", [["p"], {"id": "p"}])
    async def test_member_of_another_type(self, cloud: CloudUnderTest, client: Client, member_id: object) -> None:
        """A list or an object is more than Glance expects."""
        assert (await client.add(cloud.create_image(), member_id)).status == 500

    @pytest.mark.parametrize(
        ("body", "message"),
        [
            (b"", "Body expected in request."),
            (b"{", "Malformed JSON in request body."),
            (b"\xff", "Malformed JSON in request body."),
            (b"{}", "Member to be added not specified"),
            (b'{"project": "p"}', "Member to be added not specified"),
            (b'["p"]', 'Expected a member in the form: {"member": "image_id"}'),
            (b'"p"', "Unexpected body type. Expected list/dict."),
            (b"7", "Unexpected body type. Expected list/dict."),
            (b"null", "Unexpected body type. Expected list/dict."),
        ],
    )
    async def test_bad_body(self, cloud: CloudUnderTest, client: Client, body: bytes, message: str) -> None:
        """A body without a member is refused, with what is wrong with it."""
        answer = await client.ask("POST", members_path(cloud.create_image()), body=body)
        assert refusal(answer) == (400, message)

    async def test_other_keys_are_ignored(self, cloud: CloudUnderTest, client: Client) -> None:
        """What else the body says, the status too, has no effect."""
        body = {"member": "p", "status": "accepted", "colour": "blue"}
        answer = await client.ask("POST", members_path(cloud.create_image()), body=body)
        assert (answer.status, answer.json()["status"]) == (200, "pending")

    async def test_without_content_type(self, cloud: CloudUnderTest, client: Client) -> None:
        """The body is JSON, whatever its content type says."""
        headers = {"Content-Type": "text/plain"}
        path = members_path(cloud.create_image())
        assert (await client.ask("POST", path, body={"member": "p"}, headers=headers)).status == 200

    async def test_again_after_delete(self, cloud: CloudUnderTest, client: Client) -> None:
        """A member who was removed comes back with the old time of creation, and pending."""
        image_id, member_id = cloud.create_image(), cloud.project_id("bob")
        first = (await client.add(image_id, member_id)).json()
        await client.set_status(image_id, member_id, "accepted", user="bob")
        assert (await client.ask("DELETE", members_path(image_id, member_id))).status == 204
        again = (await client.add(image_id, member_id)).json()
        assert again == {**first, "updated_at": again["updated_at"]}
        assert again["updated_at"] >= first["updated_at"]
        assert cloud.members(image_id) == [again]

    async def test_trailing_slash(self, cloud: CloudUnderTest, client: Client) -> None:
        """A slash at the end is another path, where nothing is."""
        answer = await client.ask("POST", members_path(cloud.create_image()) + "/", body={"member": "p"})
        assert refusal(answer) == (404, "The resource could not be found.")

    @pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
    async def test_other_method(self, cloud: CloudUnderTest, client: Client, method: str) -> None:
        """Another method is refused, with those there are."""
        answer = await client.ask(method, members_path(cloud.create_image()), body={})
        assert refusal(answer) == (405, f"The method {method} is not allowed for this resource. ")
        assert answer.headers["allow"] == "GET, POST"


class TestForm:
    """The form of a refusal, which is the client's choice."""

    async def duplicate(self, cloud: CloudUnderTest, client: Client, accept: str) -> tuple[Answer, str]:
        """Return a 409 in the form that `accept` asks for, and its sentence."""
        image_id = cloud.create_image()
        await client.add(image_id, "p")
        headers = {"Accept": accept}
        answer = await client.ask("POST", members_path(image_id), body={"member": "p"}, headers=headers)
        assert answer.status == 409
        assert REQUEST_ID.fullmatch(answer.headers["x-openstack-request-id"])
        return answer, f"Member p is duplicated for image {image_id}"

    async def test_json(self, cloud: CloudUnderTest, client: Client) -> None:
        """Who accepts JSON gets JSON, with HTML in it."""
        answer, sentence = await self.duplicate(cloud, client, "application/json")
        assert answer.headers["content-type"] == "application/json"
        assert answer.json() == {
            "message": f"{sentence}<br /><br />\n\n\n",
            "code": "409 Conflict",
            "title": "Conflict",
        }

    @pytest.mark.parametrize("accept", ["*/*", "text/html"])
    async def test_html(self, cloud: CloudUnderTest, client: Client, accept: str) -> None:
        """Who accepts anything gets HTML."""
        answer, sentence = await self.duplicate(cloud, client, accept)
        assert answer.headers["content-type"] == "text/html; charset=UTF-8"
        title, body = "<title>409 Conflict</title>", f"<h1>409 Conflict</h1>\n  {sentence}<br /><br />\n\n\n"
        page = f"<html>\n <head>\n  {title}\n </head>\n <body>\n  {body}\n </body>\n</html>"
        assert answer.body.decode() == page


class TestList:
    """GET /v2/images/{image}/members."""

    async def test_empty(self, cloud: CloudUnderTest, client: Client) -> None:
        """An image without members has an empty list of them."""
        answer = await client.ask("GET", members_path(cloud.create_image()))
        assert (answer.status, answer.json()) == (200, {"members": [], "schema": "/v2/schemas/members"})

    @pytest.mark.parametrize("user", ["alice", "rita", "admin"])
    async def test_whole_list(self, cloud: CloudUnderTest, client: Client, user: str) -> None:
        """The owner's project and the admin see every member, as the POST had told it, deleted ones no more."""
        image_id = cloud.create_image()
        added = [(await client.add(image_id, member_id)).json() for member_id in ("p1", "p2", "p3")]
        await client.ask("DELETE", members_path(image_id, "p2"))
        listed = (await client.ask("GET", members_path(image_id), user=user)).json()
        assert sorted(listed["members"], key=lambda member: str(member["member_id"])) == [added[0], added[2]]

    async def test_member_sees_itself(self, cloud: CloudUnderTest, client: Client) -> None:
        """A member sees itself in the list, and none of the others."""
        image_id, member_id = cloud.create_image(), cloud.project_id("bob")
        await client.add(image_id, "p")
        mine = (await client.add(image_id, member_id)).json()
        answer = await client.ask("GET", members_path(image_id), user="bob")
        assert (answer.status, answer.json()["members"]) == (200, [mine])

    @pytest.mark.parametrize("query", ["", "?limit=1", "?marker=m5&limit=2"])
    async def test_never_in_pages(self, cloud: CloudUnderTest, client: Client, full_image: str, query: str) -> None:
        """The list is whole at any length; a limit and a marker have no effect."""
        body = (await client.ask("GET", members_path(full_image) + query)).json()
        assert body.keys() == {"members", "schema"}
        expected = {f"m{number}" for number in range(cloud.image_member_quota)}
        assert {member["member_id"] for member in body["members"]} == expected
        assert len(body["members"]) == cloud.image_member_quota

    @pytest.mark.parametrize("user", ["alice", "admin"])
    @pytest.mark.parametrize("visibility", ["private", "community", "public"])
    async def test_not_shared(self, cloud: CloudUnderTest, client: Client, visibility: str, user: str) -> None:
        """An image that isn't shared has no list of members."""
        image_id = cloud.create_image(visibility=visibility)
        answer = await client.ask("GET", members_path(image_id), user=user)
        reason = "Only shared images have members."
        assert refusal(answer) == (403, f"Not allowed to list members for image {image_id}: {reason}")

    async def test_stranger(self, cloud: CloudUnderTest, client: Client) -> None:
        """An image that the user can't see doesn't exist, and neither does one that isn't there."""
        for image_id in (cloud.create_image(), cloud.create_image(visibility="private"), UNKNOWN):
            assert refusal(await client.ask("GET", members_path(image_id), user="bob")) == not_found(image_id)

    async def test_without_token(self, cloud: CloudUnderTest, client: Client) -> None:
        """A list needs a token."""
        assert_unauthorized(await client.ask("GET", members_path(UNKNOWN), token=NO_TOKEN), cloud)


class TestShow:
    """GET /v2/images/{image}/members/{member}."""

    @pytest.mark.parametrize("user", ["alice", "rita", "admin", "bob"])
    async def test_found(self, cloud: CloudUnderTest, client: Client, user: str) -> None:
        """The owner's project, the admin and the member see the member."""
        image_id, member_id = cloud.create_image(), cloud.project_id("bob")
        added = (await client.add(image_id, member_id)).json()
        answer = await client.ask("GET", members_path(image_id, member_id), user=user)
        assert (answer.status, answer.json()) == (200, added)

    @pytest.mark.parametrize("member_id", [" p ", "50%", "a:b"])
    async def test_quoted(self, cloud: CloudUnderTest, client: Client, member_id: str) -> None:
        """An ID is found under its percent-encoded form."""
        image_id = cloud.create_image()
        added = (await client.add(image_id, member_id)).json()
        answer = await client.ask("GET", members_path(image_id, quote(member_id, safe="")))
        assert (answer.status, answer.json()) == (200, added)

    async def test_not_ascii(self, cloud: CloudUnderTest, client: Client) -> None:
        """An ID with other characters can be added and listed, but not asked for: Glance reads the path as Latin-1."""
        image_id = cloud.create_image()
        await client.add(image_id, "é")
        answer = await client.ask("GET", members_path(image_id, quote("é")))
        assert refusal(answer) == not_a_member("Ã©", image_id)
        assert refusal(await client.add(image_id, "é")) == (409, f"Member é is duplicated for image {image_id}")

    async def test_absent(self, cloud: CloudUnderTest, client: Client) -> None:
        """A project that isn't a member is not found."""
        image_id = cloud.create_image()
        assert refusal(await client.ask("GET", members_path(image_id, "p"))) == not_a_member("p", image_id)

    async def test_another_member_is_masked(self, cloud: CloudUnderTest, client: Client) -> None:
        """To a member, the other members look absent."""
        image_id = cloud.create_image()
        for member_id in ("p", cloud.project_id("bob")):
            await client.add(image_id, member_id)
        answer = await client.ask("GET", members_path(image_id, "p"), user="bob")
        assert refusal(answer) == not_a_member("p", image_id)

    async def test_deleted(self, cloud: CloudUnderTest, client: Client) -> None:
        """A removed member is not found."""
        image_id = cloud.create_image()
        await client.add(image_id, "p")
        await client.ask("DELETE", members_path(image_id, "p"))
        assert refusal(await client.ask("GET", members_path(image_id, "p"))) == not_a_member("p", image_id)

    @pytest.mark.parametrize("visibility", ["private", "community", "public"])
    async def test_not_shared(self, cloud: CloudUnderTest, client: Client, visibility: str) -> None:
        """An image that isn't shared has no members, so none is found."""
        image_id = cloud.create_image(visibility=visibility)
        answer = await client.ask("GET", members_path(image_id, "p"))
        assert refusal(answer) == (404, "Only shared images have members.")

    async def test_stranger(self, cloud: CloudUnderTest, client: Client) -> None:
        """An image that the user can't see doesn't exist."""
        for image_id in (cloud.create_image(), UNKNOWN):
            assert refusal(await client.ask("GET", members_path(image_id, "p"), user="bob")) == not_found(image_id)

    async def test_full_image(self, client: Client, full_image: str) -> None:
        """After a 413, asking for the member tells whether it is there."""
        assert (await client.ask("GET", members_path(full_image, "m0"))).status == 200
        absent = await client.ask("GET", members_path(full_image, "one more"))
        assert refusal(absent) == not_a_member("one more", full_image)

    @pytest.mark.parametrize("method", ["POST", "PATCH"])
    async def test_other_method(self, cloud: CloudUnderTest, client: Client, method: str) -> None:
        """Another method is refused, with those there are."""
        answer = await client.ask(method, members_path(cloud.create_image(), "p"), body={})
        assert refusal(answer) == (405, f"The method {method} is not allowed for this resource. ")
        assert answer.headers["allow"] == "GET, PUT, DELETE"


class TestSetStatus:
    """PUT /v2/images/{image}/members/{member}."""

    @pytest.mark.parametrize("user", ["bob", "admin"])
    @pytest.mark.parametrize("status", ["accepted", "rejected", "pending"])
    async def test_member_may(self, cloud: CloudUnderTest, client: Client, user: str, status: str) -> None:
        """The member's project and the admin set any of the three values."""
        image_id, member_id = cloud.create_image(), cloud.project_id("bob")
        before = (await client.add(image_id, member_id)).json()
        answer = await client.set_status(image_id, member_id, status, user=user)
        after = answer.json()
        assert answer.status == 200
        assert after == {**before, "status": status, "updated_at": after["updated_at"]}
        assert cloud.members(image_id) == [after]

    @pytest.mark.parametrize("user", ["alice", "rita"])
    async def test_owner_may_not(self, cloud: CloudUnderTest, client: Client, user: str) -> None:
        """The owner's project can't accept for the member."""
        image_id, member_id = cloud.create_image(), cloud.project_id("bob")
        await client.add(image_id, member_id)
        answer = await client.set_status(image_id, member_id, "accepted", user=user)
        assert refusal(answer) == not_authorized("modify_member")

    @pytest.mark.parametrize("status", ["bogus", "", None])
    async def test_bad_value(self, cloud: CloudUnderTest, client: Client, status: object) -> None:
        """Any other value is refused."""
        image_id, member_id = cloud.create_image(), cloud.project_id("bob")
        await client.add(image_id, member_id)
        answer = await client.set_status(image_id, member_id, status, user="bob")
        message = 'Incorrect request: Status must be "pending", "accepted" or "rejected".'
        assert refusal(answer) == (400, message)

    @pytest.mark.parametrize(
        ("body", "message"),
        [
            (b"{}", "Status not specified"),
            (b"[]", 'Expected a status in the form: {"status": "status"}'),
            (b"{", "Malformed JSON in request body."),
        ],
    )
    async def test_bad_body(self, cloud: CloudUnderTest, client: Client, body: bytes, message: str) -> None:
        """A body without a status is refused, with what is wrong with it."""
        image_id, member_id = cloud.create_image(), cloud.project_id("bob")
        await client.add(image_id, member_id)
        answer = await client.ask("PUT", members_path(image_id, member_id), user="bob", body=body)
        assert refusal(answer) == (400, message)

    async def test_absent(self, cloud: CloudUnderTest, client: Client) -> None:
        """A project that isn't a member is not found."""
        image_id = cloud.create_image()
        answer = await client.set_status(image_id, "p", "accepted", user="admin")
        assert refusal(answer) == not_a_member("p", image_id)


class TestRemove:
    """DELETE /v2/images/{image}/members/{member}."""

    @pytest.mark.parametrize("user", ["alice", "admin"])
    async def test_owner_and_admin_may(self, cloud: CloudUnderTest, client: Client, user: str) -> None:
        """The owner and the admin remove a member, once."""
        image_id = cloud.create_image()
        await client.add(image_id, "p")
        answer = await client.ask("DELETE", members_path(image_id, "p"), user=user)
        assert (answer.status, answer.body) == (204, b"")
        assert REQUEST_ID.fullmatch(answer.headers["x-openstack-request-id"])
        assert cloud.member_ids(image_id) == []
        again = await client.ask("DELETE", members_path(image_id, "p"), user=user)
        assert refusal(again) == not_a_member("p", image_id)

    async def test_makes_room(self, cloud: CloudUnderTest, client: Client, full_image: str) -> None:
        """A removed member no longer counts for the quota."""
        assert (await client.ask("DELETE", members_path(full_image, "m0"))).status == 204
        assert (await client.add(full_image, "m0")).status == 200
        assert refusal(await client.add(full_image, "m0")) == over_quota(full_image, cloud.image_member_quota)

    @pytest.mark.parametrize("user", ["bob", "rita"])
    async def test_others_may_not(self, cloud: CloudUnderTest, client: Client, user: str) -> None:
        """The member itself and a reader of the owner's project can't."""
        image_id, member_id = cloud.create_image(), cloud.project_id("bob")
        await client.add(image_id, member_id)
        answer = await client.ask("DELETE", members_path(image_id, member_id), user=user)
        assert refusal(answer) == not_authorized("delete_member")

    async def test_not_shared(self, cloud: CloudUnderTest, client: Client) -> None:
        """An image that isn't shared has no members to remove."""
        image_id = cloud.create_image(visibility="private")
        answer = await client.ask("DELETE", members_path(image_id, "p"))
        assert refusal(answer) == (403, f"Not allowed to delete members for image {image_id}.")

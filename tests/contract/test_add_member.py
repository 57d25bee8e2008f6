"""Adding a member to an image, and what the cloud can answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.contract.client import NO_TOKEN, REQUEST_ID, TIMESTAMP, members_path, refusal
from tests.contract.refusals import UNKNOWN, assert_unauthorized, not_authorized, not_found, over_quota

if TYPE_CHECKING:
    from tests.cloud import Answer, CloudUnderTest
    from tests.contract.client import Client


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
        """An image without data can be shared."""
        assert (await client.add(cloud.create_image(active=False), "p")).status == 200

    @pytest.mark.parametrize("member_id", ["no such project", "a/b", "Ünïcode 中文", "x" * 255, " p "])
    async def test_any_text_is_a_member(self, cloud: CloudUnderTest, client: Client, member_id: str) -> None:
        """Glance does not check that the project exists, and stores its ID unchanged."""
        image_id = cloud.create_image()
        answer = await client.add(image_id, member_id)
        assert (answer.status, answer.json()["member_id"]) == (200, member_id)
        assert cloud.member_ids(image_id) == [member_id]

    async def test_owner_as_member(self, cloud: CloudUnderTest, client: Client) -> None:
        """An image can be shared with its own owner."""
        assert (await client.add(cloud.create_image(), cloud.project_id("alice"))).status == 200

    @pytest.mark.parametrize("status", ["pending", "accepted", "rejected"])
    async def test_twice(self, cloud: CloudUnderTest, client: Client, status: str) -> None:
        """A member of any status is a duplicate, and is not changed."""
        image_id, member_id = cloud.create_image(), cloud.project_id("bob")
        await client.add(image_id, member_id)
        before = (await client.set_status(image_id, member_id, status, user="bob")).json()
        again = await client.add(image_id, member_id)
        assert refusal(again) == (409, f"Member {member_id} is duplicated for image {image_id}")
        assert cloud.members(image_id) == [before]

    @pytest.mark.parametrize("member_id", ["m0", "one more"])
    async def test_over_quota(self, cloud: CloudUnderTest, client: Client, full_image: str, member_id: str) -> None:
        """A full image refuses any member: the quota is checked before duplicates."""
        answer = await client.add(full_image, member_id)
        assert refusal(answer) == over_quota(full_image, cloud.image_member_quota)

    @pytest.mark.parametrize("image_id", [UNKNOWN, "no-uuid"])
    async def test_unknown_image(self, client: Client, image_id: str) -> None:
        """An unknown ID of any form is a 404."""
        assert refusal(await client.add(image_id, "p")) == not_found(image_id)

    @pytest.mark.parametrize("user", ["alice", "rita", "admin"])
    @pytest.mark.parametrize("visibility", ["private", "community", "public"])
    async def test_not_shared(self, cloud: CloudUnderTest, client: Client, visibility: str, user: str) -> None:
        """Only images of visibility `shared` can have members, for any user."""
        image_id = cloud.create_image(visibility=visibility)
        answer = await client.add(image_id, "p", user=user)
        assert refusal(answer) == (403, f"Not allowed to create members for image {image_id}.")

    @pytest.mark.parametrize("visibility", ["community", "public"])
    async def test_stranger_who_sees_the_image(self, cloud: CloudUnderTest, client: Client, visibility: str) -> None:
        """A stranger who can see the image gets the refusal about its visibility, too."""
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
        """Without a valid token the answer does not even show whether the image exists."""
        for image_id in (cloud.create_image(), UNKNOWN):
            answer = await client.ask("POST", members_path(image_id), token=token, body={"member": "p"})
            assert_unauthorized(answer, cloud)

    @pytest.mark.parametrize("member_id", ["", None, {}, []])
    async def test_empty_member(self, cloud: CloudUnderTest, client: Client, member_id: object) -> None:
        """A member can't be empty."""
        assert refusal(await client.add(cloud.create_image(), member_id)) == (400, "Member can't be empty")

    @pytest.mark.parametrize("member_id", [["p"], {"id": "p"}])
    async def test_member_of_another_type(self, cloud: CloudUnderTest, client: Client, member_id: object) -> None:
        """A list or an object is not a valid ID."""
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
        """A body without a member is refused with the reason."""
        answer = await client.ask("POST", members_path(cloud.create_image()), body=body)
        assert refusal(answer) == (400, message)

    async def test_other_keys_are_ignored(self, cloud: CloudUnderTest, client: Client) -> None:
        """Other keys of the body have no effect, not even the status."""
        body = {"member": "p", "status": "accepted", "colour": "blue"}
        answer = await client.ask("POST", members_path(cloud.create_image()), body=body)
        assert (answer.status, answer.json()["status"]) == (200, "pending")

    async def test_without_content_type(self, cloud: CloudUnderTest, client: Client) -> None:
        """The body is read as JSON, whatever its content type."""
        headers = {"Content-Type": "text/plain"}
        path = members_path(cloud.create_image())
        assert (await client.ask("POST", path, body={"member": "p"}, headers=headers)).status == 200

    async def test_again_after_delete(self, cloud: CloudUnderTest, client: Client) -> None:
        """A member that was removed comes back as pending, with its first creation time."""
        image_id, member_id = cloud.create_image(), cloud.project_id("bob")
        first = (await client.add(image_id, member_id)).json()
        await client.set_status(image_id, member_id, "accepted", user="bob")
        assert (await client.ask("DELETE", members_path(image_id, member_id))).status == 204
        again = (await client.add(image_id, member_id)).json()
        assert again == {**first, "updated_at": again["updated_at"]}
        assert again["updated_at"] >= first["updated_at"]
        assert cloud.members(image_id) == [again]

    async def test_trailing_slash(self, cloud: CloudUnderTest, client: Client) -> None:
        """A trailing slash is another path, which does not exist."""
        answer = await client.ask("POST", members_path(cloud.create_image()) + "/", body={"member": "p"})
        assert refusal(answer) == (404, "The resource could not be found.")

    @pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
    async def test_other_method(self, cloud: CloudUnderTest, client: Client, method: str) -> None:
        """Another method is refused, and the allowed ones are listed."""
        answer = await client.ask(method, members_path(cloud.create_image()), body={})
        assert refusal(answer) == (405, f"The method {method} is not allowed for this resource. ")
        assert answer.headers["allow"] == "GET, POST"


class TestForm:
    """The format of a refusal, which the client chooses."""

    async def duplicate(self, cloud: CloudUnderTest, client: Client, accept: str) -> tuple[Answer, str]:
        """Return a 409 in the format that `accept` asks for, and its message."""
        image_id = cloud.create_image()
        await client.add(image_id, "p")
        headers = {"Accept": accept}
        answer = await client.ask("POST", members_path(image_id), body={"member": "p"}, headers=headers)
        assert answer.status == 409
        assert REQUEST_ID.fullmatch(answer.headers["x-openstack-request-id"])
        return answer, f"Member p is duplicated for image {image_id}"

    async def test_json(self, cloud: CloudUnderTest, client: Client) -> None:
        """If JSON is accepted, the answer is JSON with HTML in it."""
        answer, sentence = await self.duplicate(cloud, client, "application/json")
        assert answer.headers["content-type"] == "application/json"
        assert answer.json() == {
            "message": f"{sentence}<br /><br />\n\n\n",
            "code": "409 Conflict",
            "title": "Conflict",
        }

    @pytest.mark.parametrize("accept", ["*/*", "text/html"])
    async def test_html(self, cloud: CloudUnderTest, client: Client, accept: str) -> None:
        """If anything is accepted, the answer is HTML."""
        answer, sentence = await self.duplicate(cloud, client, accept)
        assert answer.headers["content-type"] == "text/html; charset=UTF-8"
        title, body = "<title>409 Conflict</title>", f"<h1>409 Conflict</h1>\n  {sentence}<br /><br />\n\n\n"
        page = f"<html>\n <head>\n  {title}\n </head>\n <body>\n  {body}\n </body>\n</html>"
        assert answer.body.decode() == page

"""The members of an image: listed, shown, accepted or rejected, and removed."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from tests.contract.client import NO_TOKEN, REQUEST_ID, members_path, refusal
from tests.contract.refusals import UNKNOWN, assert_unauthorized, not_a_member, not_authorized, not_found, over_quota

if TYPE_CHECKING:
    from tests.cloud import CloudUnderTest
    from tests.contract.client import Client


class TestList:
    """GET /v2/images/{image}/members."""

    async def test_empty(self, cloud: CloudUnderTest, client: Client) -> None:
        """An image without members has an empty list."""
        answer = await client.ask("GET", members_path(cloud.create_image()))
        assert (answer.status, answer.json()) == (200, {"members": [], "schema": "/v2/schemas/members"})

    @pytest.mark.parametrize("user", ["alice", "rita", "admin"])
    async def test_whole_list(self, cloud: CloudUnderTest, client: Client, user: str) -> None:
        """The owner's project and the admin see every member as the POST returned it, but no deleted ones."""
        image_id = cloud.create_image()
        added = [(await client.add(image_id, member_id)).json() for member_id in ("p1", "p2", "p3")]
        await client.ask("DELETE", members_path(image_id, "p2"))
        listed = (await client.ask("GET", members_path(image_id), user=user)).json()
        assert sorted(listed["members"], key=lambda member: str(member["member_id"])) == [added[0], added[2]]

    async def test_member_sees_itself(self, cloud: CloudUnderTest, client: Client) -> None:
        """A member sees itself in the list, and no other."""
        image_id, member_id = cloud.create_image(), cloud.project_id("bob")
        await client.add(image_id, "p")
        mine = (await client.add(image_id, member_id)).json()
        answer = await client.ask("GET", members_path(image_id), user="bob")
        assert (answer.status, answer.json()["members"]) == (200, [mine])

    @pytest.mark.parametrize("query", ["", "?limit=1", "?marker=m5&limit=2"])
    async def test_is_not_paginated(self, cloud: CloudUnderTest, client: Client, full_image: str, query: str) -> None:
        """The list is complete at any length; a limit and a marker have no effect."""
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
        """An invisible image and an unknown one get the same answer."""
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
        """A non-ASCII ID can be added and listed, but not shown: Glance reads the path as Latin-1."""
        image_id = cloud.create_image()
        await client.add(image_id, "é")
        answer = await client.ask("GET", members_path(image_id, quote("é")))
        assert refusal(answer) == not_a_member("Ã©", image_id)
        assert refusal(await client.add(image_id, "é")) == (409, f"Member é is duplicated for image {image_id}")

    async def test_absent(self, cloud: CloudUnderTest, client: Client) -> None:
        """A project that is not a member is not found."""
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
        """An image that the user can't see is not found."""
        for image_id in (cloud.create_image(), UNKNOWN):
            assert refusal(await client.ask("GET", members_path(image_id, "p"), user="bob")) == not_found(image_id)

    async def test_full_image(self, client: Client, full_image: str) -> None:
        """After a 413, a GET shows whether the project is a member."""
        assert (await client.ask("GET", members_path(full_image, "m0"))).status == 200
        absent = await client.ask("GET", members_path(full_image, "one more"))
        assert refusal(absent) == not_a_member("one more", full_image)

    @pytest.mark.parametrize("method", ["POST", "PATCH"])
    async def test_other_method(self, cloud: CloudUnderTest, client: Client, method: str) -> None:
        """Another method is refused, and the allowed ones are listed."""
        answer = await client.ask(method, members_path(cloud.create_image(), "p"), body={})
        assert refusal(answer) == (405, f"The method {method} is not allowed for this resource. ")
        assert answer.headers["allow"] == "GET, PUT, DELETE"


class TestSetStatus:
    """PUT /v2/images/{image}/members/{member}."""

    @pytest.mark.parametrize("user", ["bob", "admin"])
    @pytest.mark.parametrize("status", ["accepted", "rejected", "pending"])
    async def test_member_may(self, cloud: CloudUnderTest, client: Client, user: str, status: str) -> None:
        """The member's project and the admin can set any of the three values."""
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
        """A body without a status is refused with the reason."""
        image_id, member_id = cloud.create_image(), cloud.project_id("bob")
        await client.add(image_id, member_id)
        answer = await client.ask("PUT", members_path(image_id, member_id), user="bob", body=body)
        assert refusal(answer) == (400, message)

    async def test_absent(self, cloud: CloudUnderTest, client: Client) -> None:
        """A project that is not a member is not found."""
        image_id = cloud.create_image()
        answer = await client.set_status(image_id, "p", "accepted", user="admin")
        assert refusal(answer) == not_a_member("p", image_id)


class TestRemove:
    """DELETE /v2/images/{image}/members/{member}."""

    @pytest.mark.parametrize("user", ["alice", "admin"])
    async def test_owner_and_admin_may(self, cloud: CloudUnderTest, client: Client, user: str) -> None:
        """The owner and the admin can remove a member; a second DELETE is a 404."""
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
        """The member itself and a reader of the owner's project can't remove it."""
        image_id, member_id = cloud.create_image(), cloud.project_id("bob")
        await client.add(image_id, member_id)
        answer = await client.ask("DELETE", members_path(image_id, member_id), user=user)
        assert refusal(answer) == not_authorized("delete_member")

    async def test_not_shared(self, cloud: CloudUnderTest, client: Client) -> None:
        """An image that isn't shared has no members to remove."""
        image_id = cloud.create_image(visibility="private")
        answer = await client.ask("DELETE", members_path(image_id, "p"))
        assert refusal(answer) == (403, f"Not allowed to delete members for image {image_id}.")

"""Changes to an image: which are possible, for which users, and which are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.contract.client import JSON_PATCH, NO_TOKEN, TIMESTAMP, detailed_refusal, members_path, refusal, replace
from tests.contract.refusals import UNKNOWN, assert_unauthorized, not_authorized

if TYPE_CHECKING:
    from tests.cloud import CloudUnderTest
    from tests.contract.client import Client

MEDIA_TYPES = f"{JSON_PATCH.replace('v2.1', 'v2.0')}, {JSON_PATCH}"
DENIED = "Access was denied to this resource."


def no_image(image_id: str) -> tuple[int, str]:
    """Return the refusal for an image that does not exist or is not visible to the user."""
    return 404, f"No image found with ID {image_id}"


class TestVisibility:
    """PATCH of /visibility."""

    @pytest.mark.parametrize("user", ["alice", "admin"])
    @pytest.mark.parametrize("before", ["private", "community", "shared"])
    async def test_set_shared(self, cloud: CloudUnderTest, client: Client, before: str, user: str) -> None:
        """The owner and the admin can make an image shared, even if it already is; the answer is the image."""
        image_id = cloud.create_image("golden", visibility=before, tags=("nightly",), os_distro="debian")
        was = (await client.ask("GET", f"/v2/images/{image_id}")).json()
        answer = await client.patch(image_id, replace("visibility", "shared"), user=user)
        changed = answer.json()
        assert answer.status == 200
        assert changed == {**was, "visibility": "shared", "updated_at": changed["updated_at"]}
        assert TIMESTAMP.fullmatch(changed["updated_at"])
        assert (await client.ask("GET", f"/v2/images/{image_id}")).json() == changed
        assert (await client.add(image_id, "p")).status == 200

    @pytest.mark.parametrize("visibility", ["private", "community"])
    async def test_set_private_or_community(self, cloud: CloudUnderTest, client: Client, visibility: str) -> None:
        """The owner can make it private or community. Its members are hidden until it is shared again."""
        image_id = cloud.create_image()
        cloud.add_member(image_id, cloud.project_id("bob"))
        assert (await client.patch(image_id, replace("visibility", visibility))).json()["visibility"] == visibility
        assert (await client.ask("GET", members_path(image_id))).status == 403
        seen = await client.ask("GET", f"/v2/images/{image_id}", user="bob")
        assert seen.status == (404 if visibility == "private" else 200)
        assert (await client.patch(image_id, replace("visibility", "shared"))).status == 200
        assert cloud.member_ids(image_id) == [cloud.project_id("bob")]

    async def test_public_needs_the_admin(self, cloud: CloudUnderTest, client: Client) -> None:
        """Only an admin can make an image public; the owner can undo it."""
        image_id = cloud.create_image()
        public = replace("visibility", "public")
        assert refusal(await client.patch(image_id, public)) == not_authorized("publicize_image")
        assert (await client.patch(image_id, public, user="admin")).status == 200
        assert (await client.patch(image_id, replace("visibility", "shared"))).status == 200

    async def test_reader_may_not(self, cloud: CloudUnderTest, client: Client) -> None:
        """A reader of the owner's project can't change it."""
        answer = await client.patch(cloud.create_image(), replace("visibility", "private"), user="rita")
        assert refusal(answer) == not_authorized("modify_image")

    @pytest.mark.parametrize(
        ("visibility", "action"),
        [
            ("private", "modify_image"),
            ("shared", "modify_image"),
            ("community", "communitize_image"),
            ("public", "publicize_image"),
        ],
    )
    async def test_member_may_not(self, cloud: CloudUnderTest, client: Client, visibility: str, action: str) -> None:
        """A member sees the image, but can't change it."""
        image_id = cloud.create_image()
        cloud.add_member(image_id, cloud.project_id("bob"))
        answer = await client.patch(image_id, replace("visibility", visibility), user="bob")
        assert refusal(answer) == not_authorized(action)

    async def test_stranger(self, cloud: CloudUnderTest, client: Client) -> None:
        """An invisible image and an unknown one get the same answer."""
        for image_id in (cloud.create_image(visibility="private"), UNKNOWN, "nonsense"):
            answer = await client.patch(image_id, replace("visibility", "shared"), user="bob")
            assert refusal(answer) == no_image(image_id)

    @pytest.mark.parametrize("value", ["bogus", None, 5, ["shared"]])
    async def test_bad_value(self, cloud: CloudUnderTest, client: Client, value: object) -> None:
        """Only the four visibilities are valid."""
        status, message = refusal(await client.patch(cloud.create_image(), replace("visibility", value)))
        assert (status, message.partition(":")[0]) == (400, "Provided object does not match schema 'image'")

    async def test_without_token(self, cloud: CloudUnderTest, client: Client) -> None:
        """A change needs a token."""
        answer = await client.ask(
            "PATCH", f"/v2/images/{UNKNOWN}", token=NO_TOKEN, headers={"Content-Type": JSON_PATCH}
        )
        assert_unauthorized(answer, cloud)


class TestOtherFields:
    """PATCH of other fields."""

    async def test_hidden(self, cloud: CloudUnderTest, client: Client) -> None:
        """A hidden image is only in lists of hidden ones; everything else works as before."""
        image_id, member_id = cloud.create_image(), cloud.project_id("bob")
        for hidden in (True, False):
            assert (await client.patch(image_id, replace("os_hidden", hidden))).json()["os_hidden"] is hidden
            for query, listed in ((f"id={image_id}", not hidden), (f"id={image_id}&os_hidden=true", hidden)):
                images = (await client.ask("GET", f"/v2/images?{query}")).json()["images"]
                assert [image["id"] for image in images] == [image_id] * listed
            assert (await client.add(image_id, f"{member_id}-{hidden}")).status == 200

    async def test_several(self, cloud: CloudUnderTest, client: Client) -> None:
        """A PATCH may have several changes, of fields and properties."""
        image_id = cloud.create_image(os_distro="debian", gone="soon")
        answer = await client.patch(
            image_id,
            replace("name", "old"),
            replace("tags", ["b", "a", "b"]),
            replace("protected", value=True),
            replace("os_distro", "ubuntu"),
            {"op": "add", "path": "/os_version", "value": "24.04"},
            {"op": "add", "path": "/a~1b~0c", "value": ""},
            {"op": "remove", "path": "/gone"},
        )
        image = answer.json()
        wanted = {"name": "old", "protected": True, "os_distro": "ubuntu", "os_version": "24.04", "a/b~c": ""}
        assert (answer.status, {key: image[key] for key in wanted}) == (200, wanted)
        assert (sorted(image["tags"]), "gone" in image) == (["a", "b"], False)
        assert (await client.patch(image_id, replace("protected", value=False))).status == 200

    async def test_all_or_none(self, cloud: CloudUnderTest, client: Client) -> None:
        """If one change is refused, none is made."""
        image_id = cloud.create_image("before")
        answer = await client.patch(image_id, replace("name", "after"), replace("visibility", "public"))
        assert refusal(answer) == not_authorized("publicize_image")
        assert (await client.ask("GET", f"/v2/images/{image_id}")).json()["name"] == "before"

    async def test_nothing(self, cloud: CloudUnderTest, client: Client) -> None:
        """A PATCH without changes is answered with the image, for any user who can see it."""
        image_id = cloud.create_image()
        was = (await client.ask("GET", f"/v2/images/{image_id}")).json()
        for user in ("alice", "rita"):
            answer = await client.patch(image_id, user=user)
            assert (answer.status, answer.json()) == (200, was)

    async def test_formats(self, cloud: CloudUnderTest, client: Client) -> None:
        """The formats can be set until the data is uploaded."""
        queued, active = cloud.create_image(active=False), cloud.create_image()
        assert (await client.patch(queued, replace("disk_format", "qcow2"))).json()["disk_format"] == "qcow2"
        answer = await client.patch(active, replace("disk_format", "qcow2"))
        assert refusal(answer) == (403, "Attribute disk_format can be only replaced for a queued image.")

    async def test_owner(self, cloud: CloudUnderTest, client: Client) -> None:
        """Only an admin can give an image to another project."""
        image_id, change = cloud.create_image(), replace("owner", cloud.project_id("bob"))
        answer = await client.patch(image_id, change)
        assert detailed_refusal(answer) == (403, DENIED, "Owner can't be updated by non admin.")
        assert (await client.patch(image_id, change, user="admin")).json()["owner"] == cloud.project_id("bob")
        assert (await client.ask("GET", f"/v2/images/{image_id}")).status == 404


class TestRefused:
    """PATCH requests that are refused."""

    @pytest.mark.parametrize("media_type", ["application/json", "application/json-patch+json", "text/plain"])
    async def test_media_type(self, client: Client, media_type: str) -> None:
        """The body has to have Glance's own media type, which is checked first."""
        answer = await client.patch(UNKNOWN, replace("visibility", "shared"), media_type=media_type)
        message = f"The request media type {media_type} is not supported by this server."
        detail = f"Image PATCH expects Content-Type one of: {MEDIA_TYPES}"
        assert detailed_refusal(answer) == (415, message, detail)
        assert answer.headers["accept-patch"] == MEDIA_TYPES

    async def test_media_type_with_parameters(self, cloud: CloudUnderTest, client: Client) -> None:
        """A media type may have parameters."""
        media_type = f"{JSON_PATCH}; charset=utf-8"
        answer = await client.patch(cloud.create_image(), replace("visibility", "shared"), media_type=media_type)
        assert answer.status == 200

    @pytest.mark.parametrize(
        ("body", "message"),
        [
            (b"", "Body expected in request."),
            (b"{", "Malformed JSON in request body."),
            (b'"x"', "Unexpected body type. Expected list/dict."),
            (b"{}", "Request body must be a JSON array of operation objects."),
            (b"[5]", "Operations must be JSON objects."),
            (
                b"[{}]",
                "Unable to find `op` in JSON Schema change. It must be one of the following: add, remove, replace.",
            ),
            (
                b'[{"op": "test"}]',
                "Invalid operation: `test`. It must be one of the following: add, remove, replace.",
            ),
            (b'[{"op": "replace"}]', "Unable to find 'path' in JSON Schema change"),
            (b'[{"op": "add", "path": "/x"}]', 'Operation "add" requires a member named "value".'),
            (b'[{"op": "add", "path": "x"}]', 'Pointer `x` does not start with "/".'),
            (b'[{"op": "add", "path": "/x/"}]', 'Pointer `/x/` end with "/".'),
            (
                b'[{"op": "add", "path": "/x~2"}]',
                'Pointer `/x~2` contains "~" not part of a recognized escape sequence.',
            ),
            (b'[{"op": "add", "path": "/tags/-"}]', "Invalid JSON pointer for this resource: '/tags/-'"),
        ],
    )
    async def test_bad_body(self, client: Client, body: bytes, message: str) -> None:
        """A malformed body is refused before the image is looked up."""
        headers = {"Content-Type": JSON_PATCH}
        answer = await client.ask("PATCH", f"/v2/images/{UNKNOWN}", body=body, headers=headers)
        assert refusal(answer) == (400, message)

    @pytest.mark.parametrize("name", ["id", "status", "created_at", "size", "checksum", "self", "file", "schema"])
    async def test_read_only(self, client: Client, name: str) -> None:
        """Fields that the service writes can't be changed; this, too, is checked before the image is looked up."""
        assert refusal(await client.patch(UNKNOWN, replace(name, "x"))) == (403, f"Attribute '{name}' is read-only.")

    @pytest.mark.parametrize("name", ["deleted", "deleted_at", "location", "os_glance_x"])
    async def test_reserved(self, client: Client, name: str) -> None:
        """Reserved names can't be used."""
        assert refusal(await client.patch(UNKNOWN, replace(name, "x"))) == (403, f"Attribute '{name}' is reserved.")

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("name", "x" * 256),
            ("name", 5),
            ("tags", "x"),
            ("os_hidden", "true"),
            ("min_disk", "1"),
            ("os_distro", None),
        ],
    )
    async def test_bad_value(self, client: Client, name: str, value: Any) -> None:
        """A value has to have its field's type; a property's is a string."""
        status, message = refusal(await client.patch(UNKNOWN, replace(name, value)))
        assert (status, message.partition(":")[0]) == (400, "Provided object does not match schema 'image'")

    @pytest.mark.parametrize("operation", ["replace", "remove"])
    async def test_absent_property(self, cloud: CloudUnderTest, client: Client, operation: str) -> None:
        """A missing property can be neither replaced nor removed."""
        answer = await client.patch(cloud.create_image(), {**replace("no_such", "x"), "op": operation})
        message = "There was a conflict when trying to complete your request."
        assert detailed_refusal(answer) == (409, message, "Property no_such does not exist.")

    @pytest.mark.parametrize("name", ["visibility", "name", "tags"])
    async def test_fields_stay(self, cloud: CloudUnderTest, client: Client, name: str) -> None:
        """A field can't be removed."""
        answer = await client.patch(cloud.create_image(), {"op": "remove", "path": f"/{name}"})
        assert detailed_refusal(answer) == (403, DENIED, f"Property {name} may not be removed.")

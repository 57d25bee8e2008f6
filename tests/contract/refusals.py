"""Glance's refusals, word for word: (status, message) pairs to compare with a `Refusal`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.cloud import Answer, CloudUnderTest

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
    """Return the refusal for an image that does not exist or is not visible to the user."""
    return 404, f"Image {image_id} not found."


def not_a_member(member_id: str, image_id: str) -> tuple[int, str]:
    """Return the refusal for a project that is not a member."""
    return 404, f"{member_id} not found in the member list of the image {image_id}."


def over_quota(image_id: str, quota: int) -> tuple[int, str]:
    """Return the refusal of a member beyond the quota."""
    limit = "The limit has been exceeded on the number of allowed image members for this image."
    attempt = f"Attempted: {quota + 1}, Maximum: {quota}:"
    return 413, f"Image member limit exceeded for image {image_id}: {limit} {attempt}"


def assert_unauthorized(answer: Answer, cloud: CloudUnderTest) -> None:
    """Assert a 401 as keystonemiddleware answers it, the only refusal without a request ID."""
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == f'Keystone uri="{cloud.auth_url}"'
    assert "x-openstack-request-id" not in answer.headers
    assert answer.json() == {
        "message": f"{UNAUTHORIZED}<br /><br />\n\n\n",
        "code": "401 Unauthorized",
        "title": "Unauthorized",
    }

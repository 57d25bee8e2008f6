"""Who may do what at the image service: Glance's default policy, as far as the sandbox has the actions.

Source: glance/policies/image.py and glance/db/utils.py of Glance 33.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bulkshare.sandbox.wire import RefusalError

if TYPE_CHECKING:
    from bulkshare.sandbox.records import Image, Token
    from bulkshare.sandbox.store import Cloud


def owns(token: Token, image: Image) -> bool:
    """Whether the image is of the token's project."""
    return image.owner is not None and image.owner == token.project_id


def may_see(token: Token, image: Image) -> bool:
    """Whether the image exists for this token: a member sees it in every status, also before accepting it."""
    if token.is_admin:
        return True
    if "reader" not in token.roles:
        return False
    return (
        image.visibility in {"public", "community"}
        or owns(token, image)
        or (image.visibility == "shared" and image.member(token.project_id) is not None)
    )


def find_image(cloud: Cloud, token: Token, image_id: str) -> Image | None:
    """Return the image unless it doesn't exist for this token."""
    image = cloud.images.get(image_id)
    return image if image is not None and may_see(token, image) else None


def require(action: str, *, allowed: bool) -> None:
    """Raise the refusal of a policy that is not met; `action` is the policy's name."""
    if not allowed:
        raise RefusalError(403, f"You are not authorized to complete {action} action.")


def may_change(token: Token, image: Image) -> bool:
    """Whether the token may change the image and its members: an admin's may, and its owner's with role member."""
    return token.is_admin or ("member" in token.roles and owns(token, image))

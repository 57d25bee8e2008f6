"""The error codes of Huawei Cloud's and Open Telekom Cloud's image service and gateways, and what follows from each.

Nearly all come with status 400, so that only the code tells an unknown image from a quota or from "too fast". Sources:
the error code pages of Image Management Service, of the API gateway, and of Open Telekom Cloud's guide to API usage.
What follows is this program's own judgement. Pure.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import NamedTuple


class Culprit(Enum):
    """What a code is about, and so what it settles."""

    IMAGE = "image"  # all pairs of the image
    PROJECT = "project"  # the pair: the project can't be a member
    ACCEPTANCE = "acceptance"  # the pair: it can't be accepted this way
    QUOTA = "quota"  # the image takes no more members
    ACCOUNT = "account"  # the run: every pair would be refused
    SERVICE = "service"  # nothing: try again
    PACE = "pace"  # nothing: slow down
    API = "api"  # the service has no such call


class Code(NamedTuple):
    """What a code means; `advice` is for the user, in plain words, without repeating the service's message."""

    culprit: Culprit
    advice: str = ""


KEY = "the image is encrypted with a key that the recipient may not use; share an unencrypted copy, or grant the key"
VAULT = "a full-ECS image is accepted into a backup vault of the project, which only the console can name"
NO_IMAGE = "there is no such image, or it is not ours"

CODES: dict[str, Code] = {
    **dict.fromkeys(("IMG.0001", "IMG.0007", "IMG.0035"), Code(Culprit.ACCOUNT, "the service does not understand us")),
    **dict.fromkeys(("IMG.0018", "IMG.0023"), Code(Culprit.SERVICE)),
    "IMG.0026": Code(Culprit.ACCOUNT, "our user lacks the right ims:images:share"),
    "IMG.0030": Code(Culprit.ACCOUNT, "the project is not the one that the credentials are for"),
    "IMG.0087": Code(Culprit.SERVICE),
    **dict.fromkeys(
        ("IMG.0027", "IMG.0031", "IMG.0066", "IMG.0086", "IMG.0121", "IMG.0144"), Code(Culprit.IMAGE, NO_IMAGE)
    ),
    "IMG.0046": Code(Culprit.IMAGE, "the image is not active"),
    "IMG.0047": Code(Culprit.IMAGE, "the image was received from another project, and only its owner can share it"),
    "IMG.0106": Code(Culprit.IMAGE, "the image was received from another project, and only its owner can share it"),
    "IMG.0083": Code(Culprit.IMAGE, "only a private image can be shared"),
    "IMG.0084": Code(Culprit.IMAGE, "only a private image can be shared"),
    "IMG.0089": Code(Culprit.IMAGE, "the image is public: everyone can use it"),
    "IMG.0105": Code(Culprit.IMAGE, "the image can't be shared"),
    "IMG.0107": Code(Culprit.IMAGE, "an image from the Marketplace can't be shared"),
    "IMG.0135": Code(Culprit.IMAGE, "a full-ECS image can only be shared if it was made from a backup in a vault"),
    **{f"IMG.{number:04}": Code(Culprit.IMAGE, KEY) for number in range(95, 104)},
    "IMG.0067": Code(Culprit.PROJECT, "there is no such project in this region"),
    "IMG.0076": Code(Culprit.PROJECT, "the project is the image's owner"),
    "IMG.0104": Code(Culprit.PROJECT, "the project can't be a member"),
    "IMG.0108": Code(Culprit.PROJECT, "there is no such project in this region"),
    "IMG.0145": Code(Culprit.PROJECT, "the project can't be a member"),
    "IMG.0177": Code(Culprit.PROJECT, "the project can't be a member"),
    "IMG.0178": Code(Culprit.PROJECT, "the project can't be a member"),
    "IMG.0088": Code(Culprit.QUOTA),  # its message says all there is to say
    "IMG.0060": Code(Culprit.PACE),
    "IMG.0187": Code(Culprit.PACE),
    **dict.fromkeys(("IMG.0061", "IMG.0064", "IMG.0065", "IMG.0112", "IMG.0113", "IMG.0114"), Code(Culprit.SERVICE)),
    **dict.fromkeys(
        ("IMG.0182", "IMG.0183", "IMG.0184", "IMG.0185", "IMG.0188", "IMG.0193"), Code(Culprit.ACCEPTANCE, VAULT)
    ),
    "IMG.0196": Code(Culprit.ACCEPTANCE, "the recipient has to accept the image first"),
    "APIGW.0101": Code(Culprit.API, "the service has no such call in this region"),
    "APIGW.0308": Code(Culprit.PACE),
    **dict.fromkeys(("APIGW.0103", "APIGW.0601", "APIGW.0605", "APIGW.0606", "APIGW.0608"), Code(Culprit.SERVICE)),
    **dict.fromkeys(("APIGW.0609", "APIGW.0202", "APIGW.0610", "APIGW.0613", "APIGW.0203"), Code(Culprit.SERVICE)),
    **dict.fromkeys(("APIGW.0302", "APIGW.0304", "APIGW.0306"), Code(Culprit.ACCOUNT, "our user may not use this API")),
    "APIGW.0310": Code(Culprit.ACCOUNT, "the project can't be used; it may be frozen, or of another region"),
    "APIGW.0401": Code(Culprit.ACCOUNT, "this machine's address is not allowed"),
    "APIGW.0402": Code(Culprit.ACCOUNT, "this machine's address is not allowed"),
    "APIGW.0802": Code(Culprit.ACCOUNT, "our user is barred from this region"),
}
CODE = re.compile(rb'"(?:error_?[cC]ode|code)"\s*:\s*"(IMG|APIGW?)\.(\d{4})"')
BODY_READ = 8192  # bytes of an error body that are looked at


def code_in(body: bytes) -> str:
    """Return the code in an error's body, with the gateway's two prefixes as one; "" if it has none."""
    found = CODE.search(body[:BODY_READ])
    if found is None:
        return ""
    prefix = "IMG" if found[1] == b"IMG" else "APIGW"
    return f"{prefix}.{found[2].decode()}"

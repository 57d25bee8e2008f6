"""Puts our token on requests, and gets another one when the cloud refuses it. Knows no plans and no pace."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from bulkshare.errors import CredentialsRefusedError
from bulkshare.glance import interpret
from bulkshare.model import Response, Step

if TYPE_CHECKING:
    from bulkshare.model import Reply, Request
    from bulkshare.ports import Identity, Transport


class Identified:
    """A Transport that sends every request as `identity`, and once more with a new token after a 401."""

    def __init__(self, inner: Transport, identity: Identity) -> None:
        self._inner = inner
        self._identity = identity

    async def send(self, request: Request) -> Reply:
        """Send `request` with a token. Raises `CredentialsRefusedError` where a new token is refused as well."""
        token = await self._identity.token()
        reply = await self._inner.send(replace(request, token=token))
        if not _is_refused(reply):
            return reply
        token = await self._identity.renew(token)
        reply = await self._inner.send(replace(request, token=token))
        if isinstance(reply, Response) and _is_refused(reply):
            said = interpret(Step.ASK, "", "", reply, datetime.now(UTC)).reason.replace(token, "***")
            where = self._identity.account.endpoint
            raise CredentialsRefusedError(f"the image service at {where} refuses a token that was just issued: {said}")
        return reply


def _is_refused(reply: Reply) -> bool:
    return isinstance(reply, Response) and reply.status == 401

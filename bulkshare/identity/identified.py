"""Puts our token on requests, and gets another one when the cloud refuses it. Knows no plans and no pace."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from bulkshare.errors import CredentialsRefusedError, NoRoleError
from bulkshare.glance import interpret
from bulkshare.identity.patience import UnansweredError
from bulkshare.model import Fault, FaultKind, Response, Step
from bulkshare.text import clean

if TYPE_CHECKING:
    from bulkshare.model import Reply, Request
    from bulkshare.ports import Identity, Transport


class Identified:
    """A Transport that sends every request as `identity`, and once more with a new token after a 401."""

    def __init__(self, inner: Transport, identity: Identity) -> None:
        self._inner = inner
        self._identity = identity

    async def send(self, request: Request) -> Reply:
        """Send `request` with a token. Raises `CredentialsRefusedError` where a new token is refused as well.

        That no token of the request's project can be had, or that it is refused twice, is no matter of the run: it is
        answered with a 403 that says so, or with a fault where the identity service does not answer.
        """
        if request.project is None:
            return await self._send(request)
        try:
            return await self._send(request)
        except NoRoleError as error:
            return Response(403, {"content-type": "application/json"}, json.dumps({"message": str(error)}).encode())
        except UnansweredError as error:
            return Fault(FaultKind.UNSENT, str(error))

    async def _send(self, request: Request) -> Reply:
        token = await self._identity.token(request.project)
        reply = await self._inner.send(request._replace(token=token))
        if not _is_refused(reply):
            return reply
        token = await self._identity.renew(token, request.project)
        reply = await self._inner.send(request._replace(token=token))
        if isinstance(reply, Response) and _is_refused(reply):
            said = interpret(Step.ASK, "", "", reply, datetime.now(UTC)).reason.replace(token, "***")
            where = self._identity.account.endpoint
            refusal = f"the image service at {where} refuses a token that was just issued"
            if request.project is not None:
                raise NoRoleError(f"{refusal} for project {clean(request.project)}: {said}")
            raise CredentialsRefusedError(f"{refusal}: {said}")
        return reply


def _is_refused(reply: Reply) -> bool:
    return isinstance(reply, Response) and reply.status == 401

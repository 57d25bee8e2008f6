"""Makes private images `shared`, so that they take members."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bulkshare.engine.each import for_each
from bulkshare.engine.recorder import Rest
from bulkshare.model import Kind, Result

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bulkshare.engine.caller import Caller
    from bulkshare.engine.recorder import Recorder
    from bulkshare.model import Limits


class Opening:
    """One PATCH per image. The pairs of an image that stays as it is are settled with the reason."""

    def __init__(self, caller: Caller, recorder: Recorder, limits: Limits) -> None:
        self._caller = caller
        self._recorder = recorder
        self._limits = limits

    async def open(self, image_ids: Sequence[str]) -> None:
        """Open images, as many at once as the limits allow."""
        if not image_ids:
            return
        self._recorder.observer.phase("opening", len(image_ids))
        await for_each(image_ids, self._open, at_once=self._limits.concurrency, stopping=self._caller.stopping)

    async def _open(self, image_id: str) -> None:
        verdict = await self._caller.open_image(image_id)
        if verdict.kind is Kind.REJECTED:
            self._recorder.put(Rest(image_id, f"the image can't be made shared: {verdict.reason}"))
        elif verdict.kind is not Kind.OPENED and not self._caller.stopping.is_set():
            reason = f"not known whether the image was made shared: {verdict.reason}"
            self._recorder.put(Rest(image_id, reason, Result.FAILED))

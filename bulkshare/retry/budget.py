"""How many retries there may be."""

from __future__ import annotations


class RetryBudget:
    """Retries are a share of the first tries, and a few to begin with.

    The scheme is Finagle's (`RetryBudget`): without it, an endpoint in trouble gets several times its usual load. Here
    a retry that helped costs nothing, so that what an outage leaves behind does not wait for first tries to come.
    """

    SHARE = 0.2
    AT_FIRST = 10.0

    def __init__(self) -> None:
        self._tokens = self.AT_FIRST

    def deposit(self) -> None:
        """Account for a first try."""
        self._tokens += self.SHARE

    def give_back(self) -> None:
        """Account for a retry that got its answer: it was no extra load in vain, and counts as a try like any other."""
        self._tokens += 1.0 + self.SHARE

    def withdraw(self) -> bool:
        """Take one retry out of the budget; False where there is none left."""
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True

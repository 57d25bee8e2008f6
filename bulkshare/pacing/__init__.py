"""The pace of requests: `rate`, `window` and `breaker` are arithmetic, `transport` does the waiting."""

from bulkshare.pacing.breaker import Breaker
from bulkshare.pacing.rate import Gcra
from bulkshare.pacing.transport import Paced
from bulkshare.pacing.window import Window

__all__ = ["Breaker", "Gcra", "Paced", "Window"]

"""The pace of requests: arithmetic first (`rate`, `window`, `breaker`), waiting second (`Paced`).

Knows what an answer says about the endpoint as a whole; knows nothing of pairs.
"""

from bulkshare.pacing.breaker import Breaker
from bulkshare.pacing.rate import Gcra
from bulkshare.pacing.transport import Paced
from bulkshare.pacing.window import Window

__all__ = ["Breaker", "Gcra", "Paced", "Window"]

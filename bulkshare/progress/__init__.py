"""What a run shows while it is at work: a live display on a terminal, log lines elsewhere. Observers, all of them.

Knows nothing of how the work is done; must never hold it up.
"""

from bulkshare.progress.display import Display, View, clock_face
from bulkshare.progress.log import DetailedLog, Log
from bulkshare.progress.tracker import Listings, Observers, Tracker

__all__ = ["DetailedLog", "Display", "Listings", "Log", "Observers", "Tracker", "View", "clock_face"]

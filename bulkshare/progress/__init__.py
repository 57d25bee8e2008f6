"""What a run shows and measures while it works: observers of its events. They must never delay it."""

from bulkshare.ports import Observer
from bulkshare.progress.display import Display, View, clock_face
from bulkshare.progress.log import DetailedLog, Log
from bulkshare.progress.tracker import Listings, Observers, Tracker

__all__ = ["DetailedLog", "Display", "Listings", "Log", "Observer", "Observers", "Tracker", "View", "clock_face"]

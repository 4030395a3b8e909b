"""Tracking with MLflow: a suite is a parent run, a cell a child run."""

from benchmark.tracking.fields import CellFacts
from benchmark.tracking.tracker import NoTracker, Result, Tracker
from benchmark.tracking.uri import tracking_uri

__all__ = ["CellFacts", "NoTracker", "Result", "Tracker", "tracking_uri"]

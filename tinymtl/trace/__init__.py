"""Seeing: one step as a table and a picture (`trace`), and the graph of an expression (`draw`)."""

from tinymtl.trace.graph import draw
from tinymtl.trace.measure import trace, traced_stages
from tinymtl.trace.result import Trace, Turn

__all__ = ["Trace", "Turn", "draw", "trace", "traced_stages"]

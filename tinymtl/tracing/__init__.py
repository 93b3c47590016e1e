"""Seeing: one step as a table and a picture (`trace`), and the graph of an expression (`draw`)."""

from tinymtl.tracing.graph import draw
from tinymtl.tracing.measure import trace, traced_stages
from tinymtl.tracing.record import Turn
from tinymtl.tracing.result import Trace

__all__ = ["Trace", "Turn", "draw", "trace", "traced_stages"]

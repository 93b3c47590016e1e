"""A trace: the record of one step that shows itself."""

from __future__ import annotations

from tinymtl.tracing import explain, picture, table
from tinymtl.tracing.record import Record
from tinymtl.tracing.svg import image_tag


class Trace(Record):
    """A record that a notebook and `print` show. Made by `tinymtl.trace`; its data are those of `Record`."""

    def explain(self) -> str:
        """The step in three sentences: how the tasks pull, what an average would do, and what this step did."""
        return " ".join(explain.sentences(self))

    def __repr__(self) -> str:
        return table.text(self)

    def _repr_html_(self) -> str:
        about = f"Trace of one step of {self.strategy}. {self.explain()}"
        return table.html(self) + image_tag(picture.draw_trace(self), about)

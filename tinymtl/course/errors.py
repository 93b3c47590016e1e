"""The one exception of this package: a use that cannot go on, said in one sentence."""

from __future__ import annotations


class CourseError(ValueError):
    """Bad use of `release` or `grade`: what was given, what was expected, what to do.

    A bad *submission* is no such error: it gets its line in the table of grades and the run goes on.

    >>> raise CourseError("unknown assignment 'A9': use 'A1', 'A2', 'A3' or 'A4'")
    Traceback (most recent call last):
    ...
    tinymtl.course.errors.CourseError: unknown assignment 'A9': use 'A1', 'A2', 'A3' or 'A4'
    """

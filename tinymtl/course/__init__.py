"""Lessons and coursework: the lessons' checks, and four assignments, handed out with `release`, marked with `grade`.

lessons/assignments/README.md is the instructor's page. The grader needs NumPy and the standard library;
`release` needs nbgrader (the extra `course`).
"""

from tinymtl.course.catalogue import ASSIGNMENTS
from tinymtl.course.errors import CourseError
from tinymtl.course.grader.batch import grade
from tinymtl.course.grader.hidden_tests import points
from tinymtl.course.handout import release
from tinymtl.course.lessons.checks import check

__all__ = ["ASSIGNMENTS", "CourseError", "check", "grade", "points", "release"]

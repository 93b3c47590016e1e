"""Grading a class: every notebook is asked in a process of its own, the answers are marked, the results written."""

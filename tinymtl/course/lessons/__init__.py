"""The lessons: their checks, a file each, and how their notebooks are copied, run and rebuilt."""

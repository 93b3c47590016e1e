"""Collecting: what asks a student's notebook, and what runs beside its code; nothing here knows an answer.

This folder is the student's image: it needs NumPy, imports nothing of tinymtl, and works wherever it is copied to.

    python -m worker questions.json notebook.ipynb > replies.json

`questions.json` is what `tinymtl grade A2 --questions questions.json` writes, `replies.json` what
`tinymtl grade A2 --replies DIR` marks.
"""

"""The questions with their right answers and their known mistakes, by topic: for the lessons and the assignments."""

from tinymtl.course.answers import (
    gpu,
    gradients,
    groups,
    interval,
    moments,
    order,
    representation,
    shapes,
    study,
    tape,
    weights,
    worksheet,
)
from tinymtl.course.question import Question

_TOPICS = (order, tape, shapes, gradients, weights, representation, moments, groups, interval, study, gpu, worksheet)
#: All questions by name: a lesson's check is called "05.alpha", a question of an assignment "k_tasks".
QUESTIONS: dict[str, Question] = {name: question for topic in _TOPICS for name, question in topic.QUESTIONS.items()}
LESSONS: dict[str, Question] = {name: QUESTIONS[name] for name in sorted(QUESTIONS) if name[0].isdigit()}

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
)
from tinymtl.course.question import Question

#: The lessons' checks by name, "05.alpha".
LESSONS: dict[str, Question] = {
    question.name: question
    for topic in (order, tape, shapes, gradients, weights, representation, moments, groups, interval, study, gpu)
    for question in sorted(topic.LESSONS, key=lambda question: question.name)
}

"""No draw is unfair: on every seed the reference and other right answers earn everything, and no named mistake does."""

import random

import numpy as np
import pytest

from tinymtl.course import ASSIGNMENTS
from tinymtl.course.marking import Key
from tinymtl.course.replies import evaluate

ASKED = [(a, q) for a in ASSIGNMENTS.values() for q in a.questions if q.name != "log"]  # a log is not drawn
FOUND = (120, 660, 840, 920, 980)  # with these a mistake once passed, or passed for another
SEEDS = [(0, 500, *FOUND), pytest.param(range(2000), marks=pytest.mark.campaign)]


def cut(order, size):
    return [order[i : i + size] for i in range(0, len(order), size)]


def by_shuffling(tasks, size, seed):
    order = list(range(tasks))
    random.Random(seed).shuffle(order)
    return cut(order, size)


def by_choosing(tasks, size, seed):
    rng, left, groups = np.random.default_rng(seed), list(range(tasks)), []
    while left:
        groups.append(rng.choice(left, min(size, len(left)), replace=False).tolist())
        left = [task for task in left if task not in groups[-1]]
    return groups


def with_the_old_generator(tasks, size, seed):
    return cut(np.random.RandomState(seed).permutation(tasks).tolist(), size)


def by_sorting_random_numbers(tasks, size, seed):
    return cut(np.argsort(np.random.default_rng(seed).random(tasks)), size)


def in_float32(gram):
    return np.float32(ASSIGNMENTS["A2"].question("k_tasks").reference["min_norm_weights"](gram))


def exact_t(a, b):
    t = {5: 2.7764451051977987, 6: 2.5705818356363146, 8: 2.3646242515927844, 12: 2.2009851600829492}[len(a)]
    return (a - b).mean(), t * (a - b).std(ddof=1) / len(a) ** 0.5


OTHERS = {
    "random_groups": (by_shuffling, by_choosing, with_the_old_generator, by_sorting_random_numbers),
    "paired_interval": (exact_t,),
    "min_norm_weights": (in_float32,),
}


@pytest.mark.parametrize("seeds", SEEDS, ids=["some", "all"])
@pytest.mark.parametrize(("assignment", "question"), ASKED, ids=lambda one: getattr(one, "name", None))
def test_right_answers_earn_everything_and_mistakes_do_not(assignment, question, seeds):
    for seed in seeds:
        key = Key.make(question, assignment.draw(question, seed))
        assert key.mark(key.right).hint == "", seed
        if seed % 20:
            continue
        for name in question.reference.keys() & OTHERS.keys():
            for other in OTHERS[name]:
                replies = [
                    [evaluate(other if case.name == name else question.reference[case.name], case) for case in cases]
                    for cases in key.cases
                ]
                assert key.mark(replies).hint == "", (seed, other.__name__)
        for mistake, wrong in zip(question.mistakes, key.wrong, strict=True):
            replies = [
                [reply or right for reply, right in zip(group, rights, strict=True)]
                for group, rights in zip(wrong, key.right, strict=True)
            ]
            mark = key.mark(replies)
            assert mark.points < question.points and mistake.hint in mark.hint, (seed, mistake.hint, mark.hint)

"""The laboratory: train a strategy, judge it, and compare it with the others."""

from tinymtl.lab import plots
from tinymtl.lab.comparison import compare
from tinymtl.lab.evaluation import evaluate
from tinymtl.lab.history import History
from tinymtl.lab.measure import task_gradients
from tinymtl.lab.metrics import accuracy, conflicting_pairs, cosines, inner_products, mean_delta, r2
from tinymtl.lab.networks import build
from tinymtl.lab.results import Comparison
from tinymtl.lab.runs import Result, Run, execute
from tinymtl.lab.training import fit

__all__ = [
    "Comparison",
    "History",
    "Result",
    "Run",
    "accuracy",
    "build",
    "compare",
    "conflicting_pairs",
    "cosines",
    "evaluate",
    "execute",
    "fit",
    "inner_products",
    "mean_delta",
    "plots",
    "r2",
    "task_gradients",
]

"""The strategies, one file each, and their registry."""

from tinymtl.steps.alternating import Alternating
from tinymtl.steps.averaged import Averaged
from tinymtl.steps.grouped import RandomGrouped
from tinymtl.steps.mgda import MGDA, MGDAUB
from tinymtl.steps.registry import STRATEGIES, Strategy
from tinymtl.steps.step import Stage, Step, StepReport, Update
from tinymtl.steps.turns import Turns
from tinymtl.steps.weighted import GradientWeighted, LossWeighted

__all__ = [
    "MGDA",
    "MGDAUB",
    "STRATEGIES",
    "Alternating",
    "Averaged",
    "GradientWeighted",
    "LossWeighted",
    "RandomGrouped",
    "Stage",
    "Step",
    "StepReport",
    "Strategy",
    "Turns",
    "Update",
]

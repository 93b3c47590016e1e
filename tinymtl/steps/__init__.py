"""The strategies: one file each."""

from tinymtl.steps.alternating import Alternating
from tinymtl.steps.averaged import Averaged
from tinymtl.steps.grouped import RandomGrouped
from tinymtl.steps.mgda import MGDA, MGDAUB
from tinymtl.steps.step import Stage, Step, StepReport

__all__ = ["MGDA", "MGDAUB", "Alternating", "Averaged", "RandomGrouped", "Stage", "Step", "StepReport"]

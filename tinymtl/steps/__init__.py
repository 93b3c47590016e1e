"""The strategies, one file each, and their registry."""

from tinymtl.steps.aligned import AlignedMTL
from tinymtl.steps.alternating import Alternating
from tinymtl.steps.averaged import Averaged
from tinymtl.steps.cagrad import CAGrad
from tinymtl.steps.conflict_free import ConFIG
from tinymtl.steps.db_mtl import DBMTL
from tinymtl.steps.gradnorm import GradNorm
from tinymtl.steps.gradvac import GradVac
from tinymtl.steps.gram import Solution
from tinymtl.steps.grouped import RandomGrouped
from tinymtl.steps.mgda import MGDA, MGDAUB
from tinymtl.steps.nash import FairGrad, NashMTL
from tinymtl.steps.ngdiff import NGDiff
from tinymtl.steps.pcgrad import PCGrad
from tinymtl.steps.registry import STRATEGIES, Strategy
from tinymtl.steps.sdmgrad import SDMGrad
from tinymtl.steps.step import Stage, Step, StepReport, Update
from tinymtl.steps.turns import Turns
from tinymtl.steps.upgrad import DualProj, UPGrad
from tinymtl.steps.weighted import GradientWeighted, LossWeighted

__all__ = [
    "DBMTL",
    "MGDA",
    "MGDAUB",
    "STRATEGIES",
    "AlignedMTL",
    "Alternating",
    "Averaged",
    "CAGrad",
    "ConFIG",
    "DualProj",
    "FairGrad",
    "GradNorm",
    "GradVac",
    "GradientWeighted",
    "LossWeighted",
    "NGDiff",
    "NashMTL",
    "PCGrad",
    "RandomGrouped",
    "SDMGrad",
    "Solution",
    "Stage",
    "Step",
    "StepReport",
    "Strategy",
    "Turns",
    "UPGrad",
    "Update",
]

"""The strategies, one file each, and their registry."""

from tinymtl.steps.aligned import AlignedMTL
from tinymtl.steps.alternating import Alternating
from tinymtl.steps.averaged import Averaged
from tinymtl.steps.cagrad import CAGrad
from tinymtl.steps.conflict_free import ConFIG
from tinymtl.steps.db_mtl import DBMTL
from tinymtl.steps.dtp import DTP
from tinymtl.steps.dwa import DWA
from tinymtl.steps.famo import FAMO
from tinymtl.steps.gen_rate import GeN
from tinymtl.steps.gls import GLS
from tinymtl.steps.gradnorm import GradNorm
from tinymtl.steps.gradvac import GradVac
from tinymtl.steps.gram import Solution
from tinymtl.steps.grouped import RandomGrouped
from tinymtl.steps.mgda import MGDA, MGDAUB
from tinymtl.steps.nash import FairGrad, NashMTL
from tinymtl.steps.ngdiff import NGDiff
from tinymtl.steps.pcgrad import PCGrad
from tinymtl.steps.registry import STRATEGIES, Strategy
from tinymtl.steps.rlw import RLW
from tinymtl.steps.sdmgrad import SDMGrad
from tinymtl.steps.slaw import SLAW
from tinymtl.steps.stch import STCH
from tinymtl.steps.step import Stage, Step, StepReport, Update
from tinymtl.steps.turns import Turns
from tinymtl.steps.uncertainty import IMTLL, UncertaintyWeighting
from tinymtl.steps.upgrad import DualProj, UPGrad
from tinymtl.steps.weighted import GradientWeighted, LossWeighted

__all__ = [
    "DBMTL",
    "DTP",
    "DWA",
    "FAMO",
    "GLS",
    "IMTLL",
    "MGDA",
    "MGDAUB",
    "RLW",
    "SLAW",
    "STCH",
    "STRATEGIES",
    "AlignedMTL",
    "Alternating",
    "Averaged",
    "CAGrad",
    "ConFIG",
    "DualProj",
    "FairGrad",
    "GeN",
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
    "UncertaintyWeighting",
    "Update",
]

"""tinymtl: how multi-task optimisation works, in a package small enough to read."""

from importlib import import_module as _import_module
from types import ModuleType as _ModuleType

from tinymtl import data, nn, problems
from tinymtl.autodiff.ops import (
    concatenate,
    exp,
    log,
    log_sigmoid,
    log_softmax,
    maximum,
    relu,
    sigmoid,
    softmax,
    sqrt,
    stack,
    tanh,
    where,
)
from tinymtl.autodiff.recording import checking, no_grad
from tinymtl.autodiff.tensor import Tensor, grad, tensor
from tinymtl.conformance import check_strategy
from tinymtl.hull import MinNorm, min_norm
from tinymtl.nn import (
    SharedBottom,
    Task,
    binary_cross_entropy_with_logits,
    cross_entropy,
    l1_loss,
    mse_loss,
)
from tinymtl.optim import SGD, Adam, AdamW
from tinymtl.steps import (
    DBMTL,
    MGDA,
    MGDAUB,
    STRATEGIES,
    AlignedMTL,
    Alternating,
    Averaged,
    CAGrad,
    ConFIG,
    DualProj,
    FairGrad,
    GradientWeighted,
    GradNorm,
    GradVac,
    LossWeighted,
    NashMTL,
    NGDiff,
    PCGrad,
    RandomGrouped,
    SDMGrad,
    Stage,
    Step,
    StepReport,
    Turns,
    Update,
    UPGrad,
)
from tinymtl.tracing import Trace, draw, trace

__version__ = "0.1.0"

__all__ = [
    "DBMTL",
    "MGDA",
    "MGDAUB",
    "SGD",
    "STRATEGIES",
    "Adam",
    "AdamW",
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
    "MinNorm",
    "NGDiff",
    "NashMTL",
    "PCGrad",
    "RandomGrouped",
    "SDMGrad",
    "SharedBottom",
    "Stage",
    "Step",
    "StepReport",
    "Task",
    "Tensor",
    "Trace",
    "Turns",
    "UPGrad",
    "Update",
    "binary_cross_entropy_with_logits",
    "check_strategy",
    "checking",
    "concatenate",
    "course",
    "cross_entropy",
    "data",
    "draw",
    "exp",
    "grad",
    "l1_loss",
    "lab",
    "log",
    "log_sigmoid",
    "log_softmax",
    "maximum",
    "min_norm",
    "mse_loss",
    "nn",
    "no_grad",
    "problems",
    "relu",
    "sigmoid",
    "softmax",
    "sqrt",
    "stack",
    "tanh",
    "tensor",
    "trace",
    "where",
]


def __getattr__(name: str) -> _ModuleType:
    """`tinymtl.lab` and `tinymtl.course`, loaded when first asked for: a plain import stays fast."""
    if name in ("lab", "course"):
        return _import_module(f"tinymtl.{name}")
    raise AttributeError(f"module 'tinymtl' has no attribute {name!r}")

"""Networks: layers, losses, and the shared-bottom model."""

from tinymtl.nn.layers import (
    MLP,
    Conv2d,
    Dropout,
    Flatten,
    LeNet,
    Linear,
    MaxPool2d,
    ReLU,
    Sequential,
)
from tinymtl.nn.losses import binary_cross_entropy_with_logits, cross_entropy, l1_loss, mse_loss
from tinymtl.nn.mode import evaluating, is_training, training
from tinymtl.nn.module import Module
from tinymtl.nn.normalization import BatchNorm1d, BatchNorm2d, LayerNorm
from tinymtl.nn.parameters import Buffer, Parameter
from tinymtl.nn.shared_bottom import SharedBottom, Task

__all__ = [
    "MLP",
    "BatchNorm1d",
    "BatchNorm2d",
    "Buffer",
    "Conv2d",
    "Dropout",
    "Flatten",
    "LayerNorm",
    "LeNet",
    "Linear",
    "MaxPool2d",
    "Module",
    "Parameter",
    "ReLU",
    "Sequential",
    "SharedBottom",
    "Task",
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "evaluating",
    "is_training",
    "l1_loss",
    "mse_loss",
    "training",
]

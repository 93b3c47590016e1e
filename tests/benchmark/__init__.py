"""The benchmark: tinymtl beside hand-written NumPy and the peers, on whole training steps.

``python tests/benchmark`` compares the parameters of all sides after three steps, then times the
sides block by block in turn, and reports medians and ratios to the floor (hand-written NumPy, no autodiff).
"""

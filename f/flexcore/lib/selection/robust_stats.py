# requirements: flexcore_learning
"""Robust measures of numbers that may hold errors of six orders of magnitude. Pure."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Names = npt.NDArray[np.str_]


def theil(x: Array, y: Array) -> float:
    """The median slope between points half the data apart: up to a quarter of wrong points do not move it."""
    order = np.argsort(x, kind="stable")
    half = len(x) // 2
    run = x[order][-half:] - x[order][:half]
    rise = y[order][-half:] - y[order][:half]
    return float(np.median(rise[run > 0] / run[run > 0])) if (run > 0).any() else 0.0


def mad(residuals: Array) -> float:
    """The deviation of the normal distribution with this median of absolute values."""
    return float(np.median(np.abs(residuals))) * 1.4826 if residuals.size else 0.0


def deviation(errors: Array) -> float:
    """The standard deviation of what is not far out: bounded at 2.5 of itself, and corrected for the bound."""
    scale = max(mad(errors), 1e-9)
    for _ in range(20):
        scale = max(math.sqrt(np.mean(np.minimum(errors**2, (2.5 * scale) ** 2)) * 1.04), 1e-9)
    return scale


def student(level: float, freedom: int) -> float:
    """Student's quantile from the normal one (Cornish and Fisher's expansion, Abramowitz and Stegun 26.7.5)."""
    z = NormalDist().inv_cdf(level)
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)

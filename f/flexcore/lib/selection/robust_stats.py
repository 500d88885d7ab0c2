# requirements: flexcore_learning
"""Statistics of numbers that may hold errors of six orders of magnitude. Pure."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.str_]

# Turns the median of absolute values into the standard deviation of a normal distribution: 1 / Φ⁻¹(3/4).
MAD_TO_SIGMA = 1.4826
# Errors beyond so many deviations count as that many; the factor is what the bound takes from a normal variance.
WINSOR_BOUND, WINSOR_CORRECTION = 2.5, 1.04
WINSOR_ROUNDS = 20
MIN_SCALE = 1e-9


def theil_slope(x: Array, y: Array) -> float:
    """Return the median slope between points half the data apart: a quarter of the points may be wrong."""
    order = np.argsort(x, kind="stable")
    half = len(x) // 2
    run = x[order][-half:] - x[order][:half]
    rise = y[order][-half:] - y[order][:half]
    return float(np.median(rise[run > 0] / run[run > 0])) if (run > 0).any() else 0.0


def mad_scale(residuals: Array) -> float:
    """Return the deviation of the normal distribution with this median of absolute values; 0 for no residuals."""
    return float(np.median(np.abs(residuals))) * MAD_TO_SIGMA if residuals.size else 0.0


def winsorized_deviation(errors: Array) -> float:
    """Return the standard deviation with errors bounded at WINSOR_BOUND of it, corrected for the bound."""
    scale = max(mad_scale(errors), MIN_SCALE)
    for _ in range(WINSOR_ROUNDS):
        bounded = np.minimum(errors**2, (WINSOR_BOUND * scale) ** 2)
        scale = max(math.sqrt(np.mean(bounded) * WINSOR_CORRECTION), MIN_SCALE)
    return scale


def student_t_quantile(probability: float, degrees: int) -> float:
    """Return Student's t quantile from the normal one (Cornish-Fisher, Abramowitz and Stegun 26.7.5)."""
    z = NormalDist().inv_cdf(probability)
    return z + (z**3 + z) / (4 * degrees) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)

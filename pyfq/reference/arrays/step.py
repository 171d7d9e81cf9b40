"""Scale, zero point and minimum of a range, for the references of quantizers."""

import numpy as np


def find_step(least, most, scheme, low, high):
    """Return the scale of codes `low` ... `high`, zero point (affine) and minimum (minmax)."""
    levels = least.dtype.type(high - low)
    if scheme == "symmetric":
        return step_of(np.maximum(-least, most), least.dtype.type(high)), None, None
    if scheme == "affine":
        least, most = np.minimum(least, 0), np.maximum(most, 0)
    with np.errstate(over="ignore"):
        extent = most - least
        scale = np.where(
            np.isinf(extent),
            np.minimum(most / levels - least / levels, np.finfo(least.dtype).max),
            step_of(extent, levels),
        )
    if scheme == "affine":
        return scale, np.minimum(np.rint(-least / scale), levels), None
    return scale, None, least


def step_of(spread, levels):
    """Divide; 1 for no spread; among the denormals not so small that codes fall short."""
    step = np.where(spread > 0, spread / levels, spread.dtype.type(1))
    short = (step < np.finfo(step.dtype).tiny) & (np.minimum(step, 1) * levels < spread)
    return np.where(short, np.nextafter(np.minimum(step, 1), np.inf, dtype=step.dtype), step)

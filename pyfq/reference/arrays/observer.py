"""Reference of `pyfq.observer.count_bins`."""

import numpy as np


def count_bins(x, exponent, bins):
    """Return what lies in each bin of each channel of ``(outer, channels, inner)``.

    Bins are ``2.0**exponent`` wide. Entry ``bins`` counts zeros, entry ``bins + 1 + t`` what lies
    in ``[t, t + 1)`` widths, entry ``bins - 1 - t`` the same of the other sign.
    """
    counts = np.zeros((x.shape[1], 2 * bins + 1), np.int64)
    for channel, k in enumerate(exponent):
        values = x[:, channel].astype(np.float64)
        beyond_zero = np.trunc(np.ldexp(np.abs(values), -int(k))) + 1
        place = bins + (np.sign(values) * beyond_zero).astype(np.int64)
        counts[channel] = np.bincount(place.reshape(-1), minlength=2 * bins + 1)
    return counts

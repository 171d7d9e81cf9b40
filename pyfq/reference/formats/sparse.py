"""Reference of `pyfq.formats.sparse`: where values are, and layers of the matrix with zeros."""

import numpy as np

from ..arrays.activation import activate
from ..arrays.pack import pack, unpack
from ..arrays.quantize import quantize
from ..products.linear import linear


def to_sparse(w, format="csr", *, n=2, m=4):
    """Return values, and indices and indptr (csr), positions (nm) or rows."""
    if format == "csr":
        indices = [np.flatnonzero(row) for row in w]
        indptr = np.cumsum([0, *map(len, indices)])
        return w[w != 0], np.concatenate([*indices, []]).astype(np.int32), indptr.astype(np.int64)
    if format == "rows":
        rows = np.flatnonzero((w != 0).any(axis=1))
        return w[rows], rows
    groups = -(-w.shape[1] // m)
    whole = np.pad(w, [(0, 0), (0, groups * m - w.shape[1])]).reshape(-1, m)
    places = np.empty((len(whole), n), np.uint8)
    for group, place in zip(whole, places, strict=True):  # nonzeros, then the first zeros
        place[:] = np.sort(np.argsort(group == 0, kind="stable")[:n])
    values = np.take_along_axis(whole, places, axis=1).reshape(len(w), groups * n)
    return values, pack(places.reshape(len(w), groups * n), (m - 1).bit_length())


def toarray(w):
    """Return a `Sparse` with its zeros, its values as they are."""
    dense = np.zeros(w.shape, w.values.dtype)
    if w.format == "rows":
        dense[w.rows] = w.values
    elif w.format == "csr":
        for row, start, end in zip(dense, w.indptr, w.indptr[1:], strict=False):
            row[w.indices[start:end]] = w.values[start:end]
    else:
        places = unpack(w.positions, (w.m - 1).bit_length(), w.values.shape[1])
        columns = np.arange(w.values.shape[1]) // w.n * w.m + places
        for row, at, values in zip(dense, columns, w.values, strict=True):
            inside = at < w.shape[1]
            row[at[inside]] = values[inside]
    return dense


def linear_sparse(x, w, bias=None, *, activation=None, activation_bits=None):
    """Return ``activation(x @ w.T + bias)``; products of codes are exact."""
    values = toarray(w)
    scale = None if w.scale is None else np.zeros((w.shape[0], 1), w.scale.dtype)
    if scale is not None:
        rows = w.rows if w.format == "rows" and w.scale.ndim else slice(None)
        scale[rows] = w.scale
    if activation_bits is None:
        return linear(x, values if scale is None else values * scale, bias, activation=activation)
    codes, step, *_ = quantize(x, activation_bits)
    sums = (codes.astype(np.float64) @ values.T.astype(np.float64)).astype(x.dtype)
    y = scale[:, 0] * sums * step
    return activate(y if bias is None else y + bias, activation)

"""Weights as a product of two thin matrices, from singular values."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .._core.check import (
    FLOATS,
    as_choice,
    as_count,
    as_input,
    as_number,
    as_seed,
    refuse_not_finite,
)
from .._core.frozen import freeze, reduce_to_parts, restore_parts, set_part
from .._core.protocol import decoded_array
from .._core.text import bytes_text, object_text, shape_text
from ..arrays.quantize import Quantized
from .matmul import matmul

Method = Literal["exact", "randomized"]

# Takes a matrix, a rank or None, and the part of its squares that may be left out; see `_exact`.
Decomposition = Callable[[NDArray, int | None, float], tuple[NDArray, NDArray[np.float64], float]]

# Rows of activations that are held as float64 at a time.
CHUNK = 1024
# Rank that a randomized search for one begins with.
FIRST_RANK = 16
# Powers of 2 among which the largest weight may be as it is: squares and sums of them are in range.
MODERATE = 60
# Rows of a matrix that OpenBLAS takes on one thread.
UNSHARED = 32
# Vectors of a block at least, where there is room: rounding may hide what a few of them would find.
LEAST_BLOCK = 16
# Passes that make a block of a basis orthogonal to the blocks before it, at most; two are enough
# but where a block is mostly rounding.
PASSES = 4
EPS = float(np.finfo(np.float64).eps)
# Ratio of squares of pivots below which a Cholesky factor is not trusted.
ILL = 64 * EPS


@dataclass(frozen=True, eq=False)
class LowRank:
    """Weights ``u @ v``, or ``u @ v + residual``; made by `svd_lowrank`.

    Arrays are views that refuse writes; who made them can still write to what is below.

    Parameters
    ----------
    u : (out_features, rank) float32 or float64 array, or Quantized
        Left factor, finite.
    v : (rank, in_features) array of u's dtype, or Quantized
        Right factor, finite.
    error : float or None
        Relative error of what was approximated, as `svd_lowrank` says; None if not known.
    residual : Quantized or None
        What is added to the product of the factors, of shape ``(out_features, in_features)``.

    Raises
    ------
    TypeError
        If a part has the wrong type or dtype.
    ValueError
        If parts do not fit each other, are empty, not C-contiguous or not finite; if a weight that
        they stand for is not finite.

    Examples
    --------
    >>> low = LowRank(np.array([[1.0], [2.0]]), np.array([[3.0, 0.0, -1.0]]))
    >>> low.shape, low.rank, low.nbytes
    ((2, 3), 1, 40)
    >>> low.toarray()
    array([[ 3.,  0., -1.],
           [ 6.,  0., -2.]])
    """

    u: NDArray | Quantized
    v: NDArray | Quantized
    error: float | None = None
    residual: Quantized | None = None

    def __post_init__(self) -> None:
        """Refuse parts that do not fit each other."""
        for name, part in (("u", self.u), ("v", self.v)):
            if not isinstance(part, Quantized):
                refuse_not_finite({name: as_input(part, name, FLOATS)})
            if len(part.shape) != 2 or 0 in part.shape:
                raise ValueError(f"{name} must have 2 axes and entries, not shape {part.shape}")
        if self.u.shape[1] != self.v.shape[0]:
            raise ValueError(
                f"v must have {self.u.shape[1]} rows for u of shape {self.u.shape}, but its shape "
                f"is {self.v.shape}"
            )
        if _dtype_of(self.v) != self.dtype:
            raise TypeError(f"v must be {self.dtype} as u, not {_dtype_of(self.v)}")
        if self.residual is not None:
            _check_residual(self.residual, self.shape, self.dtype)
        if self.error is not None:
            set_part(self, "error", as_number(self.error, "error", 0, math.inf))
        freeze(self, "u", "v")
        self._refuse_overflow()

    def _refuse_overflow(self) -> None:
        """Refuse weights that are not finite; where factors are small, none needs a look."""
        most = self.rank * _peak(self.u) * _peak(self.v)
        most += 0 if self.residual is None else _peak(self.residual)
        if most < float(np.finfo(self.dtype).max) / 2:
            return
        with np.errstate(over="ignore", invalid="ignore"):
            refuse_not_finite({"u @ v" if self.residual is None else "the sum": self.toarray()})

    __reduce__ = reduce_to_parts
    __setstate__ = restore_parts

    def __repr__(self) -> str:
        """Return shape, format and bytes."""
        factors = {part.bits for part in (self.u, self.v) if isinstance(part, Quantized)}
        return object_text(
            self,
            shape_text(self.shape),
            f"rank {self.rank}",
            f"{'/'.join(map(str, sorted(factors)))} bits" if factors else None,
            None if self.residual is None else f"residual of {self.residual.bits} bits",
            str(self.dtype),
            bytes_text(self.nbytes, 2),
        )

    # Operators of arrays refuse: they would decode at every call.
    __array_ufunc__ = None

    def __array__(self, dtype: DTypeLike = None, copy: bool | None = None) -> NDArray:
        """Return the array that this stands for, as `numpy.asarray` asks for it."""
        return decoded_array(self.toarray, dtype, copy)

    @property
    def shape(self) -> tuple[int, int]:
        """``(out_features, in_features)``."""
        return self.u.shape[0], self.v.shape[1]

    @property
    def dtype(self) -> np.dtype:
        """Dtype of the weights that it stands for."""
        return _dtype_of(self.u)

    @property
    def rank(self) -> int:
        """Columns of `u`, rows of `v`."""
        return self.u.shape[1]

    @property
    def size(self) -> int:
        """Number of weights that it stands for, as of an array of this shape."""
        return math.prod(self.shape)

    @property
    def ratio(self) -> float:
        """Entries of both factors over the number of weights."""
        return (self.u.size + self.v.size) / self.size

    @property
    def nbytes(self) -> int:
        """Bytes of factors and residual."""
        residual = 0 if self.residual is None else self.residual.nbytes
        return self.u.nbytes + self.v.nbytes + residual

    def toarray(self) -> NDArray:
        """Return the weights.

        Returns
        -------
        (out_features, in_features) array of `dtype`
            ``u @ v``, as `matmul` multiplies, and the residual if there is one.

        Examples
        --------
        >>> LowRank(np.array([[2.0]]), np.array([[1.0, -1.0]])).toarray()
        array([[ 2., -2.]])
        """
        w = matmul(_reals(self.u), _reals(self.v))
        if self.residual is not None:
            w += self.residual.dequantize()
        return w


def break_even_rank(rows: int, cols: int) -> int:
    r"""Return the largest rank whose factors have fewer entries than the matrix.

    The largest r with :math:`r (m + n) < m n`; so many multiplications a layer also takes.

    Parameters
    ----------
    rows, cols : int
        Extents m and n of the matrix, at least 1.

    Returns
    -------
    int
        The rank; 0 if there is none.

    Raises
    ------
    TypeError, ValueError
        If an argument is no integer, or less than 1.

    Examples
    --------
    >>> break_even_rank(1536, 384), break_even_rank(1, 100)
    (307, 0)
    """
    rows, cols = as_count(rows, "rows", 1), as_count(cols, "cols", 1)
    return (rows * cols - 1) // (rows + cols)


def rank_of_ratio(rows: int, cols: int, ratio: float) -> int:
    """Return the rank that `svd_lowrank` takes for a ratio."""
    ratio = as_number(ratio, "ratio", 0, 1)
    if ratio == 0:
        raise ValueError("ratio must be above 0")
    return max(1, math.floor(ratio * rows * cols / (rows + cols)))


def svd_lowrank(
    w: NDArray,
    rank: int | None = None,
    *,
    ratio: float | None = None,
    energy: float | None = None,
    tolerance: float | None = None,
    method: Method = "exact",
    seed: int = 0,
    oversampling: int = 10,
    power_iterations: int | None = None,
    x: NDArray | None = None,
    gram: NDArray | None = None,
    scale: NDArray | None = None,
    residual: Callable[[NDArray], Quantized] | None = None,
) -> LowRank:
    r"""Approximate weights by a product of lower rank, ``w ~ u @ v``.

    It has the least :math:`\lVert (W - W') S \rVert_F` among all :math:`W'` of rank r, or nearly
    that with the randomized method, where

    .. math::
        S = \begin{cases}
            I & \text{if nothing else is given} \\
            L,\ L L^T = X^T X & \text{for inputs } X \text{ or their Gram matrix} \\
            \mathrm{diag}(s) & \text{for a scale}
        \end{cases}

    With inputs it is the error of :math:`X W^T` that is least. With the left singular vectors
    :math:`U_r` of the r largest singular values of :math:`A = W S`, :math:`W' = U_r U_r^T W`; S is
    not inverted. Column i of u and row i of v have the same norm, and the entry of a column of u
    that is largest in magnitude, the first of equals, is positive.

    Parameters
    ----------
    w : (out_features, in_features) float32 or float64
        Weights W, finite.
    rank : int, optional
        1 ... min(out_features, in_features). One of `rank`, `ratio`, `energy` and `tolerance` must
        be given.
    ratio : float, optional
        Entries of u and v over those of w at most, above 0 and up to 1: the rank is
        ``floor(ratio * m * n / (m + n))``, at least 1.
    energy : float, optional
        Part of the sum of squares of the singular values of A that is kept at least, 0 ... 1: the
        smallest such rank. 1 gives the numerical rank, as `numpy.linalg.matrix_rank` counts it.
    tolerance : float, optional
        Relative error :math:`\lVert (W - W') S \rVert_F / \lVert W S \rVert_F` at most, 0 ... 1:
        the smallest such rank, that of `energy` ``1 - tolerance**2``.
    method : "exact" or "randomized"
        All singular values by LAPACK, in float64; or only the largest from products with a random
        matrix, in the dtype of w, or float64 with `x`, `gram` or `scale`: faster where the rank
        is well below the extents of w. For `energy` and `tolerance` the rank is then doubled, from
        16 on, until the estimated error is small enough; it can be larger than the exact one.
    seed : int
        Seed of NumPy's generator PCG64, for the normal numbers of the randomized method.
    oversampling : int
        Used by the randomized method, at least 0: columns of the random matrix beyond the rank.
    power_iterations : int, optional
        Used by the randomized method, at least 0: multiplications by :math:`A A^T`, which bring the
        result nearer to the best; it is taken from all of them together (block Krylov). By default
        5 if the rank is below a tenth of the smaller extent of w, else 3, of half as many vectors,
        but 16: of more singular values than that which are equal to the last bit, some may be
        missed.
    x : (..., in_features) float32 or float64, optional
        Inputs X of the layer. At most one of `x`, `gram` and `scale` may be given.
    gram : (in_features, in_features) float32 or float64, optional
        :math:`X^T X`, symmetric and positive semidefinite.
    scale : (in_features,) float32 or float64, optional
        Diagonal s of S, finite, not negative: ASVD takes mean magnitudes of inputs to the power
        0.5.
    residual : callable, optional
        Takes ``w - u @ v``, returns a `Quantized` of it, which is added in products:
        ``FakeQuantize(4).apply``, for example.

    Returns
    -------
    LowRank
        The factors, and in `error` the relative error of W S: of "exact" from the singular values
        left out; of "randomized" ``sqrt(1 - sum(s**2) / norm(A)**2)`` with the singular values s
        kept of the projection, which is exact up to rounding, and no better than
        ``sqrt(8 * eps)``. Both are without the rounding of u and v. With a residual it is that of
        the sum, measured.

    Raises
    ------
    TypeError
        If an argument has the wrong type or dtype, or `residual` returns anything but a
        `Quantized` of the dtype of w.
    ValueError
        If an array has the wrong shape, is not C-contiguous or not finite; if not exactly one rank
        is asked for, or a number is out of range; if `energy` or `tolerance` asks the randomized
        method for more than its estimate can tell; if `gram` is not symmetric or has negative
        eigenvalues; if `x`, `gram` or `scale` is all zeros; if an entry of the product is beyond
        the largest float of the dtype, which is possible where one of w is near it.

    See Also
    --------
    break_even_rank : Up to which rank this makes weights smaller.

    References
    ----------
    Eckart & Young 1936, The approximation of one matrix by another of lower rank, Psychometrika 1;
    Halko, Martinsson & Tropp 2011, Finding structure with randomness, arXiv 0909.4061, algorithms
    4.1 and 5.1; Wang et al. 2024, SVD-LLM, arXiv 2403.07378; Yuan et al. 2023, ASVD, arXiv
    2312.05821; Musco & Musco 2015, Randomized block Krylov methods, arXiv 1504.05477;
    Yamazaki et al. 2015, Mixed-precision Cholesky QR factorization, SIAM J. Sci. Comput. 37(3).

    Examples
    --------
    >>> w = np.array([[2.0, 0.0, 1.0], [4.0, 0.0, 2.0], [0.0, 1.0, 0.0]])
    >>> low = svd_lowrank(w, energy=0.9)
    >>> low.rank, round(low.error, 3)
    (1, 0.196)
    >>> low.toarray().round(3) + 0.0
    array([[2., 0., 1.],
           [4., 0., 2.],
           [0., 0., 0.]])
    """
    w = as_input(w, "w", FLOATS)
    if w.ndim != 2 or not w.size:
        raise ValueError(f"w must have 2 axes and entries, but its shape is {w.shape}")
    refuse_not_finite({"w": w})
    rank, allowed = _wanted(w.shape, rank, ratio, energy, tolerance)
    as_choice(method, "method", get_args(Method))
    seed = as_seed(seed)
    oversampling = as_count(oversampling, "oversampling", 0)
    if power_iterations is not None:
        power_iterations = as_count(power_iterations, "power_iterations", 0)
        if method == "exact":
            raise ValueError("power_iterations must be None for method='exact'")
    if residual is not None and not callable(residual):
        raise TypeError(f"residual must be callable, not {type(residual).__name__}")
    root = _root_of(w.shape[1], x, gram, scale)
    dtype = np.dtype(np.float64)
    decompose: Decomposition = _exact
    if method == "randomized":
        dtype = w.dtype if root is None else dtype
        if rank is None:
            _refuse_noise(allowed, dtype)
        decompose = partial(
            _randomized, seed=seed, oversampling=oversampling, power_iterations=power_iterations
        )
    # A basis is found of the shorter side, where it takes less.
    tall = method == "randomized" and root is None and w.shape[0] > w.shape[1]
    matrix = np.ascontiguousarray(w.T) if tall else w
    low = _approximate(matrix, dtype, root, rank, allowed, decompose)
    low = _turned(low) if tall else low
    return low if residual is None else _with_residual(low, w, residual, root)


def _approximate(
    w: NDArray,
    dtype: np.dtype,
    root: NDArray[np.float64] | None,
    rank: int | None,
    allowed: float,
    decompose: Decomposition,
) -> LowRank:
    """Return factors, found in `dtype`, of a rank or the least that leaves out what is allowed."""
    exponent = _exponent(w)
    if abs(exponent) <= MODERATE:
        exponent = 0
    moderate = w.astype(dtype, copy=False)
    moderate = np.ldexp(moderate, -exponent) if exponent else moderate
    left, s, beyond = decompose(_weighted(moderate, root), rank, allowed)
    left_out = _left_out(s, beyond)
    if rank is None and allowed == 0:
        cut = max(w.shape) * float(np.finfo(w.dtype).eps)
        rank = max(1, int(np.count_nonzero(s > cut * s[0])))
    elif rank is None:
        rank = _least_rank(left_out, allowed)
    u, v = _factors(moderate, left[:rank])
    half = exponent // 2
    u, v = np.ldexp(u, half), np.ldexp(v, exponent - half)
    error = math.sqrt(left_out[rank] / left_out[0]) if left_out[0] else 0.0
    u, v = u.astype(w.dtype), v.astype(w.dtype)
    return LowRank(u, v if abs(exponent) <= MODERATE else _held(u, v), error)


def _held(u: NDArray, v: NDArray) -> NDArray:
    """Return v, by a few roundings smaller if nothing else takes a product beyond all floats."""
    eps = np.finfo(v.dtype).eps
    with np.errstate(over="ignore", invalid="ignore"):
        for roundings in (0, 16, 64, 256):
            held = v * (1 - roundings * eps)
            if np.isfinite(matmul(u, held)).all():
                return held
    return v


def _wanted(
    shape: tuple[int, int],
    rank: int | None,
    ratio: float | None,
    energy: float | None,
    tolerance: float | None,
) -> tuple[int | None, float]:
    """Return the rank that is asked for; or None, and the part of squares that may be left out."""
    asked = {"rank": rank, "ratio": ratio, "energy": energy, "tolerance": tolerance}
    given = [name for name, value in asked.items() if value is not None]
    if len(given) != 1:
        raise ValueError(
            f"one of {', '.join(asked)} must be given, not {' and '.join(given) or 'none'}"
        )
    m, n = shape
    if rank is not None:
        return as_count(rank, "rank", 1, min(m, n)), 0.0
    if ratio is not None:
        return rank_of_ratio(m, n, ratio), 0.0
    if energy is not None:
        return None, 1 - as_number(energy, "energy", 0, 1)
    return None, as_number(tolerance, "tolerance", 0, 1) ** 2


def _refuse_noise(allowed: float, dtype: np.dtype) -> None:
    """Refuse to look for a rank by errors that are lost in the rounding of two sums of squares."""
    noise = 8 * float(np.finfo(dtype).eps)
    if allowed < noise:
        raise ValueError(
            f"energy must be at most 1 - {noise:.2g}, or tolerance at least {math.sqrt(noise):.2g},"
            f" for method='randomized', which sees no smaller errors: take method='exact'"
        )


def _root_of(
    n: int, x: NDArray | None, gram: NDArray | None, scale: NDArray | None
) -> NDArray[np.float64] | None:
    """Return S, or its diagonal, times any number: only directions and ratios are made of it."""
    given = {"x": x, "gram": gram, "scale": scale}
    given = {name: each for name, each in given.items() if each is not None}
    if len(given) > 1:
        raise ValueError(f"at most one of x, gram and scale may be given, not {len(given)}")
    for name, each in given.items():
        shape = {"x": (*np.shape(each)[:-1], n), "gram": (n, n), "scale": (n,)}[name]
        refuse_not_finite({name: as_input(each, name, FLOATS, shape)})
        if not each.any():
            raise ValueError(f"{name} must not be all zeros")
    if scale is not None:
        if scale.min() < 0:
            raise ValueError(f"scale must not be negative, but its least entry is {scale.min()}")
        return scale / np.float64(scale.max())
    if x is not None:
        return _square_root(_gram_of(x.reshape(-1, n)), n * EPS)
    if gram is None:
        return None
    near_one = gram / np.float64(np.abs(gram).max())
    rounding = n * float(np.finfo(gram.dtype).eps)
    if np.abs(near_one - near_one.T).max() > rounding:
        raise ValueError("gram must be symmetric")
    return _square_root((near_one + near_one.T) / 2, rounding)


def _gram_of(x: NDArray) -> NDArray[np.float64]:
    """Return the Gram matrix of the columns of some activations, divided by a power of 4."""
    exponent = _exponent(x)
    gram = np.zeros((x.shape[1], x.shape[1]))
    for start in range(0, len(x), CHUNK):
        part = np.ldexp(x[start : start + CHUNK].astype(np.float64), -exponent)
        gram += matmul(part, part, transpose_a=True)
    return gram


def _square_root(gram: NDArray[np.float64], rounding: float) -> NDArray[np.float64]:
    """Return S with S S^T = gram."""
    try:
        return np.linalg.cholesky(gram)
    except np.linalg.LinAlgError:  # eigenvalues of 0: any other S gives the same
        values, vectors = np.linalg.eigh(gram)
    if values[0] < -rounding * values[-1]:
        raise ValueError(
            f"gram must be positive semidefinite, but its least eigenvalue is "
            f"{values[0] / values[-1]:.2g} times its largest"
        )
    return vectors * np.sqrt(np.maximum(values, 0))


def _exact(
    a: NDArray, rank: int | None, allowed: float
) -> tuple[NDArray, NDArray[np.float64], float]:
    """Return left singular vectors, as rows, singular values, and 0: nothing is beyond them."""
    left, s, _ = np.linalg.svd(a, full_matrices=False)
    return left.T, s, 0.0


def _randomized(
    a: NDArray,
    rank: int | None,
    allowed: float,
    *,
    seed: int,
    oversampling: int,
    power_iterations: int | None,
) -> tuple[NDArray, NDArray[np.float64], float]:
    """Return the same of a projection of `a`, and the sum of squares that the projection lacks.

    The projection is large enough for a rank; or for leaving out no more than what is allowed.
    """
    most = min(a.shape)
    total = float(np.einsum("ij,ij->", a, a, dtype=np.float64))
    trial = min(FIRST_RANK, most) if rank is None else rank
    while True:
        count = min(trial + oversampling, most)
        if power_iterations is None:
            block = min(count, max(-(-count // 2), LEAST_BLOCK))
            iterations = 5 if trial < 0.1 * most else 3
        else:
            block, iterations = count, power_iterations
        left, s = _rotated(*_krylov_basis(a, block, iterations, seed))
        beyond = max(total - float(s @ s), 0.0)
        if rank is not None or trial == most:
            return left, s, beyond
        if _left_out(s, beyond)[trial] <= allowed * total:
            return left, s, beyond
        trial = min(2 * trial, most)


def _krylov_basis(a: NDArray, block: int, iterations: int, seed: int) -> tuple[NDArray, NDArray]:
    """Return rows, orthonormal, and their images under `a`.

    They are a basis of what `a` maps `block` random vectors to, and of its images under powers of
    ``a @ a.T`` up to `iterations`, as far as there is room.
    """
    count = min((iterations + 1) * block, min(a.shape))
    basis, images = np.empty((count, len(a)), a.dtype), np.empty((count, a.shape[1]), a.dtype)
    generator = np.random.default_rng(seed)

    def fresh(rows: int, images: bool) -> NDArray:
        random = generator.standard_normal((rows, a.shape[images]), a.dtype)
        return matmul(random, a, transpose_b=True) if images else random

    rows = fresh(block, True)
    for start in range(0, count, block):
        stop = min(start + block, count)
        basis[start:stop] = _orthonormal_to(basis[:start], rows[: stop - start], fresh)
        matmul(basis[start:stop], a, out=images[start:stop])
        if stop < count:
            rows = matmul(images[start:stop], a, transpose_b=True)
    return basis, images


def _orthonormal_to(
    basis: NDArray, rows: NDArray, fresh: Callable[[int, bool], NDArray]
) -> NDArray:
    """Return an orthonormal basis of some rows, orthogonal to those of `basis`.

    Twice is enough, but where rows are so near to each other, or to `basis`, that what is left of
    them is mostly rounding: `fresh` ones take their place, images if there may be others.
    """
    enough = math.sqrt(np.finfo(rows.dtype).eps)
    for i in range(PASSES):
        before = np.linalg.norm(rows, axis=1).max()
        rows = rows - matmul(matmul(rows, basis, transpose_b=True), basis)
        weak = np.linalg.norm(rows, axis=1) <= enough * before
        if weak.any():
            rows[weak] = fresh(int(weak.sum()), i == 0)
        rows, least = _orthonormal(rows)
        if least > enough * before and not weak.any():
            break
    rows -= matmul(matmul(rows, basis, transpose_b=True), basis)
    return _orthonormal_again(rows)


def _orthonormal(y: NDArray) -> tuple[NDArray, float]:
    """Return an orthonormal basis of the rows of `y`, and the least distance of one to the others.

    The inverse of the Cholesky factor of ``y @ y.T``, which y is multiplied by, takes a fraction of
    the time of reflections; what is too ill-conditioned for it, even in float64, is left to those,
    and its least distance called 0.
    """
    wide = y.astype(np.float64)
    try:
        inverse = _inverse_factor(matmul(wide, wide, transpose_b=True))
    except np.linalg.LinAlgError:
        inverse = np.zeros((len(y), len(y)))
    pivots = np.diag(inverse)
    if not pivots.min() ** 2 > ILL * pivots.max() ** 2:
        return np.ascontiguousarray(np.linalg.qr(y.T)[0].T), 0.0
    return matmul(inverse.astype(y.dtype), y), 1 / float(pivots.max())


def _orthonormal_again(y: NDArray) -> NDArray:
    """Return an orthonormal basis of rows that nearly are one: of the inverse root two terms."""
    wide = y.astype(np.float64)
    off = matmul(wide, wide, transpose_b=True) - np.eye(len(y))
    return y - matmul((off / 2).astype(y.dtype), y)


def _inverse_factor(gram: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the inverse of the lower Cholesky factor of a matrix.

    By halves, so that LAPACK, which is slow to share small work among threads, gets only blocks
    that it does not share.
    """
    if len(gram) <= UNSHARED:
        return np.linalg.inv(np.linalg.cholesky(gram))
    half = len(gram) // 2
    first = _inverse_factor(gram[:half, :half])
    below = matmul(np.ascontiguousarray(gram[half:, :half]), first, transpose_b=True)
    second = _inverse_factor(gram[half:, half:] - matmul(below, below, transpose_b=True))
    inverse = np.zeros_like(gram)
    inverse[:half, :half] = first
    inverse[half:, :half] = -matmul(second, matmul(below, first))
    inverse[half:, half:] = second
    return inverse


def _rotated(rows: NDArray, images: NDArray) -> tuple[NDArray, NDArray[np.float64]]:
    """Return left singular vectors, as rows, and values of ``rows.T @ images``."""
    image = images.astype(np.float64)
    if rows.dtype == np.float32:  # whose digits are in the squares, too
        squares, rotation = np.linalg.eigh(matmul(image, image, transpose_b=True))
        squares, rotation = np.maximum(squares[::-1], 0), rotation[:, ::-1]
        s = np.sqrt(squares)
    else:
        rotation, s, _ = np.linalg.svd(np.linalg.qr(image.T, mode="r").T)
    return matmul(np.ascontiguousarray(rotation.T.astype(rows.dtype)), rows), s


def _left_out(s: NDArray[np.float64], beyond: float) -> NDArray[np.float64]:
    """Return of each rank, 0 ... len(s), the sum of squares that it leaves out."""
    return np.cumsum([beyond, *s[::-1] ** 2])[::-1]


def _least_rank(left_out: NDArray[np.float64], allowed: float) -> int:
    """Return the least rank that leaves out no larger part, or the largest."""
    enough = np.flatnonzero(left_out <= allowed * left_out[0] * (1 + 1e-12))
    return max(1, int(enough[0]) if enough.size else len(left_out) - 1)


def _turned(low: LowRank) -> LowRank:
    """Return the same of the transpose, with the signs of `_factors`."""
    u = low.v.T
    largest = np.take_along_axis(u, np.abs(u).argmax(axis=0)[None], axis=0)
    sign = np.where(largest < 0, -1, 1).astype(u.dtype)
    return LowRank(
        np.ascontiguousarray(u * sign), np.ascontiguousarray((low.u * sign).T), low.error
    )


def _factors(w: NDArray, left: NDArray) -> tuple[NDArray, NDArray]:
    """Return the factors of ``left.T @ left @ w``, columns and rows of the same norm."""
    largest = np.take_along_axis(left, np.abs(left).argmax(axis=1)[:, None], axis=1)
    left = np.ascontiguousarray(np.where(largest < 0, -left, left))
    right = matmul(left, w)
    norm = np.sqrt(np.linalg.norm(right, axis=1, keepdims=True))
    return np.ascontiguousarray((norm * left).T), right / np.where(norm > 0, norm, 1)


def _with_residual(
    low: LowRank, w: NDArray, quantize: Callable[[NDArray], Quantized], root: NDArray | None
) -> LowRank:
    """Return the low rank with what it lacks quantized, and the error of both."""
    rest = quantize(w - low.toarray())
    _check_residual(rest, w.shape, w.dtype)
    both = replace(low, residual=rest)
    exponent = _exponent(w)
    lacking, whole = (
        np.linalg.norm(_weighted(np.ldexp(each.astype(np.float64), -exponent), root))
        for each in (w - both.toarray(), w)
    )
    return replace(both, error=float(lacking / whole) if whole else 0.0)


def _exponent(x: NDArray) -> int:
    """Return the power of 2 above all magnitudes."""
    return int(np.frexp(max(x.max(), -x.min()))[1])


def _weighted(w: NDArray, root: NDArray[np.float64] | None) -> NDArray:
    """Return W S, in float64 if there is an S."""
    if root is None:
        return w
    w = w.astype(np.float64, copy=False)
    return w * root if root.ndim == 1 else matmul(w, root)


def _check_residual(residual: Any, shape: tuple[int, int], dtype: np.dtype) -> None:
    if not isinstance(residual, Quantized):
        raise TypeError(f"residual must be a Quantized, not {type(residual).__name__}")
    if residual.shape != shape:
        raise ValueError(f"residual must have shape {shape}, not {residual.shape}")
    if residual.scale.dtype != dtype:
        raise TypeError(f"residual must be {dtype} as u, not {residual.scale.dtype}")


def _dtype_of(part: NDArray | Quantized) -> np.dtype:
    return part.scale.dtype if isinstance(part, Quantized) else part.dtype


def _peak(part: NDArray | Quantized) -> float:
    """Return a bound of the magnitudes."""
    if isinstance(part, np.ndarray):
        return max(float(part.max()), -float(part.min()))
    least = 0.0 if part.minimum is None else float(np.abs(part.minimum).max())
    return 2.0**part.bits * float(np.abs(part.scale).max()) + least


def _reals(part: NDArray | Quantized) -> NDArray:
    return part.dequantize() if isinstance(part, Quantized) else part

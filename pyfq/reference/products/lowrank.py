"""Reference of `pyfq.products.lowrank`, in float64."""

import numpy as np


def svd_lowrank(
    w,
    rank,
    *,
    method="exact",
    seed=0,
    oversampling=10,
    power_iterations=None,
    x=None,
    gram=None,
    scale=None,
):
    """Return u, v and the relative error: ``u @ v`` is nearest to w in the norm of S."""
    plain = x is None and gram is None and scale is None
    if method == "randomized" and plain and w.shape[0] > w.shape[1]:
        how = {"method": method, "seed": seed, "oversampling": oversampling}
        v, u, error = svd_lowrank(w.T, rank, power_iterations=power_iterations, **how)
        sign = np.where(u[np.arange(rank), np.abs(u).argmax(axis=1)] < 0, -1, 1)
        return u.T * sign, (v * sign).T, error
    root = np.eye(w.shape[1]) if scale is None else np.diag(scale.astype(np.float64))
    if x is not None:
        gram = x.T.astype(np.float64) @ x
    if gram is not None:  # positive definite
        root = np.linalg.cholesky(gram)
    whole = w.astype(np.float64)
    a = whole @ root
    projected = a
    if method == "randomized":
        dtype = w.dtype if gram is None and scale is None else np.float64
        columns = min(rank + oversampling, *w.shape)
        if power_iterations is None:
            columns = min(columns, max(-(-columns // 2), 16))
            power_iterations = 5 if rank < 0.1 * min(w.shape) else 3
        random = np.random.default_rng(seed).standard_normal((columns, w.shape[1]), dtype)
        basis = find_range(a, random.T, power_iterations)
        projected = basis @ (basis.T @ a)
    left, s, _ = np.linalg.svd(projected, full_matrices=False)
    left = left[:, :rank]
    left = left * np.where(left[np.abs(left).argmax(axis=0), np.arange(rank)] < 0, -1, 1)
    right = left.T @ whole
    norm = np.sqrt(np.linalg.norm(right, axis=1))
    u, v = left * norm, right / np.where(norm > 0, norm, 1)[:, None]
    left_out = np.sum(a**2) - np.sum(s[:rank] ** 2)
    error = np.sqrt(max(left_out, 0) / np.sum(a**2)) if a.any() else 0.0
    return u.astype(w.dtype), v.astype(w.dtype), error


def find_range(a, random, power_iterations):
    """Return a basis of ``a @ random`` and its images under powers of ``a @ a.T``."""
    block = np.linalg.qr(a @ random)[0]
    basis = block
    for _ in range(power_iterations):
        room = min(a.shape) - basis.shape[1]
        block = (a @ (a.T @ block))[:, :room]
        for _ in range(2):
            block = np.linalg.qr(block - basis @ (basis.T @ block))[0]
        basis = np.hstack([basis, block])
    return basis

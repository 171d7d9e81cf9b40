"""Reference of `pyfq.train`: one epoch, as `fortran/learning/fq_train.f90` does it."""

import numpy as np

from ..arrays.activation import activate, derivative
from ..arrays.quantize import fake_quantize


def train_epoch(layers, batches, loss, optimizer, state, rates, *, hints=(), clip=None, masks=None,
                rounding=None, done=0):  # fmt: skip
    """Train layers in place and return the mean loss of each batch.

    `layers` are lists ``[weights, bias, activation]``; `batches` tuples ``(x, share, *data)`` where
    share sums to 1 over the batch; ``loss(z, *data)`` returns the loss of each sample and its
    gradient with respect to z; `hints` are lists ``[layer, weights, bias, factor]``, whose targets
    are the last of the data; `state` is a dict that keeps the moments of the optimizer from epoch
    to epoch.
    """
    losses = []
    for step, ((x, share, *data), rate) in enumerate(zip(batches, rates, strict=True), done + 1):
        targets = [data.pop() for _ in hints][::-1]
        used = [w if rounding is None else fake_quantize(w, **rounding) for w, *_ in layers]
        outputs, sums = [x], []
        for w, (_, bias, activation) in zip(used, layers, strict=True):
            sums.append(outputs[-1] @ w.T + bias)
            outputs.append(activate(sums[-1], activation))
        each, upstream = loss(outputs[-1], *data)
        total, upstream = np.sum(share * each), share[:, None] * upstream
        gradients, hint_gradients = [], [None] * len(hints)
        for i in reversed(range(len(layers))):
            for h, (layer, w, bias, factor) in enumerate(hints):
                if layer == i:
                    error = outputs[i + 1] @ w.T + bias - targets[h]
                    total += factor * np.sum(share * (error**2).mean(axis=1))
                    back = 2 * factor * share[:, None] * error / error.shape[1]
                    hint_gradients[h] = [back.T @ outputs[i + 1], back.sum(axis=0)]
                    upstream = upstream + back @ w
            upstream = upstream * derivative(sums[i], outputs[i + 1], layers[i][2])
            gradients.insert(0, [upstream.T @ outputs[i], upstream.sum(axis=0)])
            upstream = upstream @ used[i]
        if masks is not None:
            gradients = [[w * m, b] for (w, b), m in zip(gradients, masks, strict=True)]
        gradients += hint_gradients
        if clip is not None:
            norm = np.sqrt(sum((g**2).sum() for pair in gradients for g in pair))
            factor = min(1.0, clip / (norm + 1e-6))
            gradients = [[factor * g for g in pair] for pair in gradients]
        parameters = [layer[:2] for layer in layers] + [hint[1:3] for hint in hints]
        for i, (values, its) in enumerate(zip(parameters, gradients, strict=True)):
            for part, (value, g) in enumerate(zip(values, its, strict=True)):
                update(value, g, optimizer, state.setdefault((i, part), [0.0, 0.0]), rate, step,
                       decays=part == 0)  # fmt: skip
        losses.append(total)
    return np.array(losses)


def update(w, g, optimizer, moments, rate, step, *, decays):
    """Do a step of the optimizer in place, with the attributes of `pyfq.SGD` or `pyfq.Adam`."""
    decay = optimizer.weight_decay if decays else 0.0
    if hasattr(optimizer, "momentum"):
        g = g + decay * w
        moments[0] = optimizer.momentum * moments[0] + g
        w -= rate * (g + optimizer.momentum * moments[0] if optimizer.nesterov else moments[0])
        return
    if optimizer.decoupled:
        w *= 1 - rate * decay
    else:
        g = g + decay * w
    moments[0] = moments[0] + (1 - optimizer.beta1) * (g - moments[0])
    moments[1] = optimizer.beta2 * moments[1] + (1 - optimizer.beta2) * g * g
    root = np.sqrt(moments[1] / (1 - optimizer.beta2**step)) + optimizer.epsilon
    w -= rate / (1 - optimizer.beta1**step) * moments[0] / root


def cross_entropy(z, t):
    """Return the cross-entropy of probabilities t, or labels, and its gradient."""
    p = softmax(z)
    if t.ndim == 1:
        t = np.eye(z.shape[1], dtype=z.dtype)[t]
    return -np.sum(t * log_softmax(z), axis=1), p * t.sum(axis=1, keepdims=True) - t


def squared_error(y, t):
    """Return the mean of ``(y - t)**2`` of each sample, and its gradient."""
    return ((y - t) ** 2).mean(axis=1), 2 * (y - t) / y.shape[1]


def huber(y, t, delta=1.0):
    """Return the mean Huber loss of each sample, and its gradient."""
    error = y - t
    within = np.clip(error, -delta, delta)
    return (within * (error - within / 2)).mean(axis=1), within / y.shape[1]


def divergence(z, teacher, temperature):
    """Return ``T**2 KL(softmax(z_t/T) || softmax(z_s/T))`` of each sample, and its gradient."""
    q = softmax(teacher / temperature)
    log_ratio = log_softmax(teacher / temperature) - log_softmax(z / temperature)
    gradient = temperature * (softmax(z / temperature) - q)
    return temperature**2 * np.sum(q * log_ratio, axis=1), gradient


def cosine_distance(y, t):
    """Return ``1 - cos(y, t)`` of each sample, and its gradient."""
    square = (y * y).sum(axis=1, keepdims=True)
    norms = np.sqrt(square * (t * t).sum(axis=1, keepdims=True))
    cosine = (y * t).sum(axis=1, keepdims=True) / norms
    return 1 - cosine[:, 0], cosine / square * y - t / norms


def softmax(z):
    """Return the softmax of each row."""
    return np.exp(log_softmax(z))


def log_softmax(z):
    """Return its logarithm."""
    z = z - z.max(axis=1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=1, keepdims=True))

"""Reference of `pyfq.arrays.activation`: the operations of the kernels, in their order.

Formulas and coefficients are explained in `fortran/arrays/fq_activation.f90` and `.inc`.
"""

from types import SimpleNamespace

import numpy as np

RUN, LANES = 112, 16

FLOAT32 = SimpleNamespace(
    fraction_bits=23,
    raised=64,
    lower=2**12 - 1,
    ends=SimpleNamespace(exp=104.5, silu=109, gelu=14.45, cubic=11),
    top=89,
    ones=SimpleNamespace(exp=20, cubic=5.5, tanh=10),
    plain=240,
    ln2=(0.693145751953125, 1.4286068e-06),
    exp=(0.5, 0.16666518, 0.041666202, 0.008368953, 0.0013950604),
    log_middle=0.51171875,
    log=(0.376052, -0.17706063, 0.09145931, -0.049756687, 0.027949583, -0.015961055, 0.009621931,
         -0.0066195866, 0.0033184756),
    gelu=(-0.053164154, -0.39440742, 0.19412161, 0.44301406, -1.4645075, 2.4468687, -2.7657506,
          2.092904, -0.77780676, -0.30483064, 0.41663486),
    cubic=((-1.595703125, -6.5996606e-5), (-0.07135009765625, -4.7186164e-6)),
)  # fmt: skip
FLOAT64 = SimpleNamespace(
    fraction_bits=52,
    raised=256,
    lower=2**27 - 1,
    ends=SimpleNamespace(exp=746, silu=753, gelu=38.7, cubic=22),
    top=710,
    ones=SimpleNamespace(exp=40, cubic=7.5, tanh=20),
    plain=1900,
    ln2=(0.693147180559663, 2.8235290563031577e-13),
    exp=(0.5000000000000013, 0.166666666666667, 0.04166666666651433, 0.008333333333307035,
         0.001388888894733056, 0.0001984126991775403, 2.4801489591256288e-05,
         2.7557215968130323e-06, 2.763141354900241e-07, 2.5117967171735632e-08),
    log_middle=0.484375,
    log=(0.3809629151356927, -0.1821762472156281, 0.09566794955810302, -0.05293415181805169,
         0.030291901641943595, -0.01774897618403478, 0.010583615978866645, -0.006397079247948109,
         0.003908613080619413, -0.0024093412985294466, 0.0014961068752252788,
         -0.0009346488583909902, 0.0005870207113176799, -0.0003716588858964826,
         0.00023651023865931168, -0.00014513719321986984, 8.710160557717684e-05,
         -6.818229446122871e-05, 5.8646050585759384e-05, -2.532946287791037e-05),
    gelu=(-0.05316415342927855, -0.3944073794022349, 0.19412189458695797, 0.4430072743900022,
          -1.464530259423882, 2.4471599413716745, -2.7650130174855576, 2.0878592920907115,
          -0.788944289355756, -0.2666317096203846, 0.4933285469329375, -0.11515742620249143,
          -0.1928200374747184, 0.11492388136490789, 0.0770493647140608, -0.0741582742275551,
          -0.03816234354882837, 0.04385757653240727, 0.02393051027224946, -0.02321685601134957,
          -0.01503293823302856, 0.008136863847645757, 0.005904455528162149),
    cubic=((-1.5957691073417664, -1.426396435433791e-08),
           (-0.071354815736413, -5.361872467621785e-10)),
)  # fmt: skip


def activate(x, activation):
    """Return the values of an activation function."""
    word, number = with_number(activation)
    k = FLOAT32 if x.dtype == np.float32 else FLOAT64
    with np.errstate(all="ignore"):
        match word:
            case None:
                y = x.copy()
            case "leaky_relu":
                y = x * np.where(x < 0, x.dtype.type(number), x.dtype.type(1))
            case "clipped_relu":
                y = np.where(x < 0, 0, np.where(x > number, x.dtype.type(number), x))
            case "elu":
                y = elu(x, x.dtype.type(number), k)
            case _:
                y = FUNCTIONS[word](x, k)
    return np.asarray(y, x.dtype)


def derivative(z, y, activation):
    """Return the derivative of an activation function at z, where its value is y."""
    kind, number = with_number(activation)
    match kind:
        case "relu":
            return (y > 0).astype(z.dtype)
        case "leaky_relu":
            return np.where(z > 0, 1, number).astype(z.dtype)
        case "clipped_relu":
            return ((z > 0) & (z <= number)).astype(z.dtype)
        case "elu":
            return np.where(z > 0, 1, y + number).astype(z.dtype)
        case "exp":
            return y
        case "tanh":
            return 1 - y * y
        case "sigmoid":
            return y * (1 - y)
        case "softplus":
            return activate(z, "sigmoid")
        case None:
            return np.ones_like(z)
    share = np.divide(
        y, z, out=np.full_like(z, 0.5), where=np.abs(z) > np.finfo(z.dtype).tiny ** 0.5
    )
    match kind:
        case "silu":
            return share + y * (1 - share)
        case "gelu":
            return share + z * np.exp(-z * z / 2) / np.sqrt(2 * np.pi)
    inner = np.sqrt(2 / np.pi) * (1 + 3 * 0.044715 * np.minimum(np.abs(z), 30) ** 2)
    return share + z * 2 * share * (1 - share) * inner


def with_number(activation):
    """Return the name of an activation function and the number that goes with it."""
    if isinstance(activation, tuple):
        return activation
    return activation, {"leaky_relu": 0.01, "clipped_relu": 6.0, "elu": 1.0}.get(activation)


def relu(x, _):
    """Return max(x, 0)."""
    return np.where(x < 0, 0, x)


def elu(x, alpha, k):
    """Return x, or alpha (exp(x) - 1) where x is not above 0."""
    power, excess = split_exp(np.clip(x, -k.ones.exp, 0), 0, 0, k)
    return np.where(x > 0, x, alpha * (power * excess + (power - 1)))


def exp(x, k):
    """Return exp(x); where that is above 2**raised, this factor apart."""
    high, low = (x.dtype.type(k.raised * part) for part in k.ln2)
    factor = x.dtype.type(2.0 ** (k.raised // 2))
    is_large, zero = x > high, x.dtype.type(0)
    a = np.clip(x, -k.ends.exp, k.top) - np.where(is_large, high, zero)
    power, excess = split_exp(a, np.where(is_large, -low, zero), k.raised // 2, k)
    return (power + power * excess) * np.where(is_large, factor, 1 / factor)


def tanh(x, k):
    """Return (1 - e)/(1 + e) with e = exp(-2|x|)."""
    power, excess = split_exp(-2 * np.minimum(np.abs(x), k.ones.tanh), 0, 0, k)
    rest = power * excess
    denominator = (1 + power) + rest
    lost = rest - (denominator - (1 + power))
    numerator = (1 - power) - rest
    numerator = (1 - power) - (rest + (1 - power) * numerator * lost)
    return np.copysign(numerator / denominator, x)


def sigmoid(x, k):
    """Return 1/(1 + exp(-x))."""
    a = -np.clip(x, -k.ends.exp, k.ones.exp)
    return 2.0**-k.raised / one_plus_exp(a, 0, k)


def silu(x, k):
    """Return x/(1 + exp(-x))."""
    within = np.clip(x, -k.ends.silu, k.ones.exp)
    return np.where(x > k.ones.exp, x, within / one_plus_exp(-within, 0, k) * 2.0**-k.raised)


def gelu_tanh(x, k):
    """Return x/(1 + exp(-u)), u in two parts."""
    (c0h, c0l), (c1h, c1l) = (map(x.dtype.type, pair) for pair in k.cubic)
    within = np.clip(x, -k.ends.cubic, k.ones.cubic)
    xh = upper(within, k)
    xl = within - xh
    square = xh * xh + xl * (within + xh)
    sh = upper(square, k)
    sl = (xh * xh - sh) + xl * (within + xh)
    g = (c0h + c0l) + (c1h + c1l) * square
    gh = upper(g, k)
    gl = ((c0h - gh) + c1h * sh) + (((c1h + c1l) * sl + c1l * sh) + c0l)
    y = within / one_plus_exp(xh * gh, xh * gl + xl * g, k) * 2.0**-k.raised
    return np.where(x > k.ones.cubic, x, y)


def gelu(x, k):
    """Return max(x, 0) - z Phi(-z) with z = |x|."""
    z = np.minimum(np.abs(x), k.ends.gelu)
    zh = upper(z, k)
    zl = z - zh
    power, excess = split_exp(-0.5 * zh * zh, -0.5 * zl * (z + zh), k.raised // 2, k)
    reciprocal = 1 / (1 + z)
    qh = upper(z * reciprocal, k)
    ql = (((z - qh) - qh * zh) - qh * zl) * reciprocal
    c = series(k.gelu, z / (z + 5) - 0.4375)
    c = excess + (c + excess * c)
    y = power * (qh + (ql + (qh + ql) * c)) * 2.0 ** (-(k.raised // 2) - 1)
    return np.where(x < 0, 0, x) - y


def softplus(x, k):
    """Return max(x, 0) + e (1 - e k(e)) with e = exp(-|x|)."""
    within = np.clip(x, -k.ends.exp, k.ones.exp)
    power, excess = split_exp(-np.abs(within), 0, k.raised, k)
    raised = power + power * excess
    e = raised * 2.0**-k.raised
    y = power * excess + np.maximum(within, 0) * 2.0**k.raised
    y = power + (y - raised * (e * series(k.log, e - k.log_middle)))
    return np.where(x > k.ones.exp, x, y * 2.0**-k.raised)


def softmax(x, k):
    """Return the softmax of each row; the largest is taken off the exponents."""
    if not x.size:
        return x.copy()
    rows = x.reshape(-1, x.shape[-1]) if x.ndim else x.reshape(1, 1)
    largest = np.fmax.reduce(rows, axis=1, keepdims=True, initial=np.finfo(x.dtype).min)
    offset = np.where(np.abs(largest) < k.plain, 0, largest)
    top = largest - offset
    a, lowest = rows - offset, top - k.ends.exp
    raised = k.raised // 2 - turns(top, k).astype(int)
    power, excess = split_exp(np.maximum(a, lowest), 0, raised, k)
    power = np.where(a < lowest, 0, power)
    e = (power + power * excess) * 2.0 ** -(k.raised // 2)
    total = row_sum(e.astype(np.float64))[:, None]
    return (e * (1 / total).astype(x.dtype)).reshape(x.shape)


FUNCTIONS = {
    f.__name__: f for f in (relu, exp, tanh, sigmoid, silu, gelu_tanh, gelu, softplus, softmax)
}


def row_sum(e):
    """Sum runs of 112 in 16 lanes, the lanes of the runs, and the lanes of a row by halving."""
    runs = np.zeros((e.shape[0], -(-e.shape[1] // RUN) * RUN))
    runs[:, : e.shape[1]] = e
    runs = runs.reshape(e.shape[0], -1, RUN // LANES, LANES)
    lanes = sum(runs[:, :, step] for step in range(RUN // LANES))
    lanes = sum(lanes[:, run] for run in range(lanes.shape[1]))
    while lanes.shape[1] > 1:
        half = lanes.shape[1] // 2
        lanes = lanes[:, :half] + lanes[:, half:]
    return lanes[:, 0]


def one_plus_exp(a, b, k):
    """Return 1 + exp(a + b), times 2**-raised."""
    one = a.dtype.type(2.0**-k.raised)
    power, excess = split_exp(a, b, -k.raised, k)
    total = one + power
    return total + (power * excess + (one - (total - power)))


def split_exp(a, b, raised, k):
    """Return 2**(n + raised) and exp(a + b)/2**n - 1, n the integer nearest to a/ln 2."""
    n = turns(a, k)
    high, low = a - n * k.ln2[0], b - n * k.ln2[1]
    r = high + low
    square = r * r
    q = horner(k.exp[::2], square) + r * horner(k.exp[1::2], square)
    return np.ldexp(a.dtype.type(1), n.astype(int) + raised), high + (low + square * q)


def turns(a, k):
    """Return the integer nearest to a/ln 2."""
    shift = 1.5 * 2.0**k.fraction_bits
    return (a * a.dtype.type(1.4426950408889634) + shift) - shift


def series(c, t):
    """Return the polynomial of t, its odd and even powers apart."""
    square = t * t
    return c[0] + t * (horner(c[1::2], square) + t * horner(c[2::2], square))


def horner(c, x):
    """Return the polynomial of x."""
    y = x.dtype.type(c[-1])
    for coefficient in c[-2::-1]:
        y = coefficient + x * y
    return y


def upper(x, k):
    """Return the upper half of the significand."""
    bits = np.asarray(x).view(np.uint32 if k is FLOAT32 else np.uint64)
    return (bits & ~bits.dtype.type(k.lower)).view(x.dtype)

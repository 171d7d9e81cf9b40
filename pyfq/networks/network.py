"""Networks of dense layers (`fortran/networks/fq_network.f90`)."""

import itertools
import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal, get_args, overload

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from .._core.array_like import as_floats
from .._core.check import (
    as_choice,
    as_count,
    as_float_dtype,
    as_output,
    as_seed,
    as_sequence,
    is_none_or,
    refuse_not_finite,
    shown,
)
from .._core.frozen import reduce_to_parts, restore_parts, set_part
from .._core.table import html_table
from .._core.text import bytes_text, object_text, shape_text
from .._core.threads import get_num_threads
from ..arrays.activation import Activation, activation_text, as_activation
from ..arrays.observer import Method, Observer
from ..arrays.prune import Pruned
from ..arrays.quantize import Quantized
from ..arrays.ranges import Signs
from ..arrays.rate import RateQuantized
from ..errors import NOT_FINITE, FqError
from ..formats.sparse import Sparse
from ..products.model import ENDS, Model, ModelLayer, build, model_for
from .derivatives import (
    as_point,
    as_point_and_factor,
    multiply_jacobian,
    refuse_codes,
    transpose_layers,
)
from .input_range import count_outside, outside_text
from .layer import Dense, Weights, as_frozen, cast, decoded, form_text, matrices_of
from .static_ranges import input_codes

# What `forward` does about inputs beyond `input_min` and `input_max`.
Outside = Literal["ignore", "warn", "raise", "count"]
RANGE = ("input_min", "input_max")

Initialization = Literal["he_normal", "he_uniform", "glorot_normal", "glorot_uniform"]


@dataclass(frozen=True, eq=False)
class Network:
    """Dense layers, one after the other; a forward pass is one call into Fortran.

    With means and scales, ``forward(x) = output_scale * layers((x - input_mean) / input_scale) +
    output_mean``: an emulator takes and returns physical units.

    Networks do not change: training, pruning and quantizing make new ones.

    Parameters
    ----------
    layers : sequence of Dense
        At least one; the outputs of each are the inputs of the next. Softmax is for the last only.
    input_mean, input_scale : (inputs,) array of the layers' dtype, optional
        Both or neither; finite, scales not 0.
    output_mean, output_scale : (outputs,) array of the layers' dtype, optional
        The same.
    classes : (outputs,) array, optional
        Labels that `predict` returns; without them it returns outputs.
    activation_bits : int or None
        8: layers of `Quantized` weights of at most 8 bits, of `RateQuantized` ones with such codes,
        and of `Sparse` codes, quantize their inputs as `linear` does; those of `LowRank` weights do
        not. Layers with `x_scale`, which all have or none, need it, and quantize with that.
    input_min, input_max : (inputs,) array of the layers' dtype, optional
        Both or neither; finite: the least and the largest of each input that the network was
        trained on. `train` and `distill` find them, `forward` can tell of inputs beyond them.

    Raises
    ------
    TypeError
        If an argument has the wrong type or dtype.
    ValueError
        If layers do not fit each other, an array has the wrong shape, is not finite or not
        C-contiguous.

    See Also
    --------
    pyfq.train, pyfq.distill, pyfq.load_network

    Examples
    --------
    >>> first = Dense(np.array([[1.0, -1.0], [0.5, 0.5]]), activation="relu")
    >>> network = Network([first, Dense(np.array([[1.0, 2.0]]), np.array([0.5]))])
    >>> network.sizes, network.multiply_adds
    ((2, 2, 1), 6)
    >>> network.forward(np.array([[1.0, 3.0], [3.0, 1.0]]))
    array([[4.5],
           [6.5]])
    """

    layers: tuple[Dense, ...]
    input_mean: NDArray | None = None
    input_scale: NDArray | None = None
    output_mean: NDArray | None = None
    output_scale: NDArray | None = None
    classes: NDArray | None = None
    activation_bits: int | None = None
    input_min: NDArray | None = None
    input_max: NDArray | None = None
    _models: list[Model] = field(default_factory=list, init=False, repr=False)
    _transposed: list[Model] = field(default_factory=list, init=False, repr=False)
    _ends: tuple[Any, ...] = field(default=(), init=False, repr=False)

    def __post_init__(self) -> None:
        """Refuse what is no network."""
        are_many = isinstance(self.layers, Iterable) and not isinstance(self.layers, np.ndarray)
        layers = tuple(self.layers) if are_many else ()
        set_part(self, "layers", layers)
        if not layers or not all(isinstance(layer, Dense) for layer in layers):
            raise TypeError("layers must be a sequence of at least one Dense")
        for i, (before, layer) in enumerate(itertools.pairwise(layers), 1):
            if layer.shape[1] != before.shape[0]:
                raise ValueError(
                    f"layers[{i}] must have {before.shape[0]} inputs, not {layer.shape[1]}"
                )
            if layer.dtype != layers[0].dtype:
                raise TypeError(f"layers[{i}] must be {layers[0].dtype}, not {layer.dtype}")
            if before.activation == "softmax":
                raise ValueError(f"layers[{i - 1}] must not be softmax: only the last may")
        if not is_none_or(self.activation_bits, 8):
            raise ValueError(
                f"activation_bits must be None or 8, not {shown(self.activation_bits)}"
            )
        static = [layer.x_scale is not None for layer in layers]
        if any(static) and not all(static):
            raise ValueError(
                f"layers must all have x_scale or none, but layers[{static.index(False)}] has none"
            )
        if any(static) and self.activation_bits is None:
            raise ValueError("activation_bits must be 8 for layers with x_scale, not None")
        for name, n in zip(ENDS, (self.sizes[0],) * 2 + (self.sizes[-1],) * 2, strict=True):
            self._freeze_end(name, n)
        self._freeze_range()
        dtype = np.dtype(self.dtype.type)  # the one object that most arrays have
        ends = dtype, self.sizes[0], self.sizes[-1]
        set_part(self, "_ends", ends)
        if self.classes is not None:
            set_part(self, "classes", _as_classes(self.classes, self.sizes[-1]))

    def _freeze_end(self, name: str, n: int) -> None:
        end, (side, _, what) = getattr(self, name), name.partition("_")
        other = f"{side}_{'scale' if what == 'mean' else 'mean'}"
        if (end is None) != (getattr(self, other) is None):
            raise ValueError(f"{name} and {other} must both be given, or neither")
        if end is not None:
            end = as_frozen(end, name, (self.dtype.type,), (n,))
            if what == "scale" and not end.all():
                at = np.flatnonzero(end == 0)[0]
                raise ValueError(f"{name} must not be 0, but {name}[{at}] is")
            set_part(self, name, end)

    def _freeze_range(self) -> None:
        if (self.input_min is None) != (self.input_max is None):
            raise ValueError("input_min and input_max must both be given, or neither")
        if self.input_min is None:
            return
        for name in RANGE:
            bound = as_frozen(getattr(self, name), name, (self.dtype.type,), self.sizes[:1])
            set_part(self, name, bound)
        crossed = np.flatnonzero(self.input_min > self.input_max)
        if crossed.size:
            i = crossed[0]
            raise ValueError(
                f"input_min must not be above input_max, but input_min[{i}] is "
                f"{self.input_min[i]} and input_max[{i}] is {self.input_max[i]}"
            )

    __reduce__ = reduce_to_parts
    __setstate__ = restore_parts

    def __repr__(self) -> str:
        """Return sizes, activations, form of the weights and bytes."""
        return object_text(
            self,
            "-".join(map(str, self.sizes)),
            *dict.fromkeys(self._activation_texts()),
            str(self.dtype),
            *dict.fromkeys(form_text(layer.weights) for layer in self.layers),
            self._inputs_text(),
            bytes_text(self.nbytes, 2),
        )

    def _repr_html_(self) -> str:
        """Return a table of the layers."""
        rows = [("layer", "shape", "weights", "activation", "parameters", "bytes")]
        for i, layer in enumerate(self.layers):
            activation = activation_text(layer.activation) or "none"
            sizes = str(layer.size), bytes_text(layer.nbytes)
            weights = ", ".join(filter(None, (str(layer.dtype), form_text(layer.weights))))
            rows.append((str(i), shape_text(layer.shape), weights, activation, *sizes))
        rows.append(("all", "", "", "", str(self.size), bytes_text(self.nbytes)))
        return html_table(repr(self), rows)

    def _activation_texts(self) -> list[str]:
        """Return the activations that there are, or that there is none."""
        texts = [activation_text(layer.activation) for layer in self.layers]
        return [text for text in texts if text is not None] or ["linear"]

    def _inputs_text(self) -> str | None:
        """Return how inputs of layers are quantized."""
        if self.activation_bits is None:
            return None
        is_calibrated = self.layers[0].x_scale is not None
        return f"{'calibrated ' if is_calibrated else ''}inputs of {self.activation_bits} bits"

    @classmethod
    def create(
        cls,
        sizes: Sequence[int],
        *,
        activation: Activation = "relu",
        output_activation: Activation = None,
        initialization: Initialization | None = None,
        seed: int = 0,
        dtype: DTypeLike = np.float32,
    ) -> "Network":
        r"""Return a network with random weights, and biases of 0.

        Weights of a layer with k inputs and n outputs have mean 0 and variance 2/k (He) or
        2/(n + k) (Glorot).

        Parameters
        ----------
        sizes : sequence of int
            Inputs, neurons of each hidden layer, outputs; at least 2, each at least 1.
        activation : str, (str, float) or None
            Activation of the hidden layers.
        output_activation : str, (str, float) or None
            Activation of the last layer.
        initialization : str, optional
            ``"he_normal"``, ``"he_uniform"``, ``"glorot_normal"`` or ``"glorot_uniform"``; by
            default Glorot, uniform, for tanh and sigmoid, else He, normal.
        seed : int
            Seed of NumPy's generator PCG64, from which weights are drawn layer by layer in float64.
        dtype : dtype
            float32 or float64.

        Returns
        -------
        Network
            The network.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type, or is none of these.

        References
        ----------
        He et al. 2015, Delving deep into rectifiers, arXiv 1502.01852; Glorot & Bengio 2010,
        Understanding the difficulty of training deep feedforward neural networks, AISTATS.

        Examples
        --------
        >>> network = Network.create((64, 32, 10), seed=1)
        >>> network.sizes, network.dtype
        ((64, 32, 10), dtype('float32'))
        """
        sizes = as_sequence(sizes, "sizes", "int")
        sizes = [as_count(n, f"sizes[{i}]", 1) for i, n in enumerate(sizes)]
        if len(sizes) < 2:
            raise ValueError(f"sizes must be at least inputs and outputs, not {tuple(sizes)}")
        as_activation(activation)
        as_activation(output_activation, "output_activation")
        dtype = as_float_dtype(dtype)
        if initialization is None:
            glorot = activation in ("tanh", "sigmoid")
            initialization = "glorot_uniform" if glorot else "he_normal"
        as_choice(initialization, "initialization", get_args(Initialization))
        family, shape = initialization.split("_")
        generator = np.random.default_rng(as_seed(seed))
        layers = []
        for i, (k, n) in enumerate(itertools.pairwise(sizes)):
            deviation = math.sqrt(2 / (k if family == "he" else n + k))
            if shape == "normal":
                w = generator.normal(0, deviation, (n, k))
            else:
                w = generator.uniform(-1, 1, (n, k)) * (math.sqrt(3) * deviation)
            last = i == len(sizes) - 2
            its_activation = output_activation if last else activation
            layers.append(Dense(w.astype(dtype), np.zeros(n, dtype), its_activation))
        return cls(tuple(layers))

    @property
    def dtype(self) -> np.dtype:
        """Dtype of inputs and outputs."""
        return self.layers[0].dtype

    @property
    def sizes(self) -> tuple[int, ...]:
        """Inputs, outputs of each layer."""
        return (self.layers[0].shape[1], *(layer.shape[0] for layer in self.layers))

    @property
    def nbytes(self) -> int:
        """Bytes of all weights and biases, as they are stored."""
        return sum(layer.nbytes for layer in self.layers)

    @property
    def size(self) -> int:
        """Number of weights and biases; of sparse layers, those kept, of low rank, of factors."""
        return sum(layer.size for layer in self.layers)

    @property
    def multiply_adds(self) -> int:
        """Multiplications of a sample; of sparse layers, those that are not left out."""
        biases = sum(layer.bias.size for layer in self.layers if layer.bias is not None)
        return self.size - biases

    @property
    def parameters(self) -> dict[str, NDArray]:
        """Weights and biases as arrays, ``"layers.0.weight"``, ``"layers.0.bias"``, ..."""
        named = {}
        for i, layer in enumerate(self.layers):
            named[f"layers.{i}.weight"] = layer.toarray()
            if layer.bias is not None:
                named[f"layers.{i}.bias"] = layer.bias
        return named

    def with_parameters(self, parameters: Mapping[str, NDArray]) -> "Network":
        """Return the network with other weights and biases.

        Parameters
        ----------
        parameters : mapping of str to array or another form of weights
            As `parameters` names them; what is not there stays.

        Returns
        -------
        Network
            The network.

        Raises
        ------
        TypeError, ValueError
            If a name is unknown, or a value does not fit: weights of a calibrated network stay
            codes.

        Examples
        --------
        >>> network = Network([Dense(np.array([[1.0, 2.0]]))])
        >>> network = network.with_parameters({"layers.0.weight": np.array([[3.0, 4.0]])})
        >>> network.forward(np.array([[1.0, 1.0]]))
        array([[7.]])
        """
        if not isinstance(parameters, Mapping):
            raise TypeError(
                "parameters must be a mapping from names to arrays, such as "
                f"{{'layers.0.weight': w}}, not {type(parameters).__name__}"
            )
        left = dict(parameters)
        layers = []
        for i, layer in enumerate(self.layers):
            weights = left.pop(f"layers.{i}.weight", layer.weights)
            bias = left.pop(f"layers.{i}.bias", layer.bias)
            layers.append(replace(layer, weights=weights, bias=bias))
            if layers[-1].shape != layer.shape:
                raise ValueError(
                    f"layers.{i}.weight must have shape {layer.shape}, not {layers[-1].shape}"
                )
        if left:
            raise ValueError(
                f"parameters must be those of the network, not {shown(next(iter(left)))}"
            )
        return replace(self, layers=tuple(layers))

    def map_weights(self, function: Callable[[NDArray], Weights | Pruned]) -> "Network":
        """Return the network with the weights of each layer put through a function.

        Parameters
        ----------
        function : callable
            Takes the weights of a layer as an array, returns an array or another form of weights,
            or what pruned them, `Pruned`.

        Returns
        -------
        Network
            The network.

        Examples
        --------
        >>> from pyfq import quantize
        >>> network = Network.create((64, 32, 10))
        >>> small = network.map_weights(lambda w: quantize(w, 8))
        >>> network.nbytes, small.nbytes
        (9640, 2704)
        """
        if not callable(function):
            raise TypeError(f"function must be a callable, not {type(function).__name__}")
        layers = (replace(layer, weights=function(layer.toarray())) for layer in self.layers)
        return replace(self, layers=tuple(layers))

    def astype(self, dtype: DTypeLike) -> "Network":
        """Return the network in another dtype.

        Arrays are rounded to it. Codes stay as they are, and with them what is calibrated: the
        scales are rounded.

        Parameters
        ----------
        dtype : dtype
            float32 or float64.

        Returns
        -------
        Network
            The network; itself if it has this dtype.

        Raises
        ------
        TypeError
            If `dtype` is neither, or is float64 for weights of 2 bytes.
        ValueError
            If a number is not finite in this dtype, or a scale would be 0.

        Examples
        --------
        >>> network = Network.create((64, 32, 10)).astype(np.float64)
        >>> network
        Network(64-32-10, relu, float64, 19 kB)
        """
        dtype = as_float_dtype(dtype)
        if dtype == self.dtype:
            return self
        layers = []
        for layer in self.layers:
            bias = None if layer.bias is None else cast(layer.bias, dtype)
            layers.append(replace(layer, weights=cast(layer.weights, dtype), bias=bias))
        names = (*ENDS, *RANGE)
        ends = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        ends = {name: cast(end, dtype) for name, end in ends.items()}
        return replace(self, layers=tuple(layers), **ends)

    def calibrate(
        self,
        x: ArrayLike | Iterable[ArrayLike],
        *,
        scheme: Signs = "affine",
        method: Method = "minmax",
        bins: int = 2048,
        percentile: float | None = None,
        momentum: float | None = None,
    ) -> "Network":
        r"""Return the network with fixed scales of its activations, found on samples.

        Its forward pass turns inputs into 8-bit codes once. From then on codes are multiplied by
        codes, and what comes out of a layer becomes the codes of the next at once; only the last
        layer gives floats. With :math:`s`, :math:`z` the `x_scale` and `x_zero_point` of a layer
        (:math:`z = 0` if symmetric), c, :math:`\sigma`, :math:`\zeta` the codes, scales and zero
        points of its weights, and :math:`s', z'` those of the next layer,

        .. math::
            t_j &= f\Big((s\,\sigma_j) \sum_i (q_i - z)(c_{ji} - \zeta_j) + \beta_j\Big) \\
            q'_j &= \mathrm{saturate}(\mathrm{round}(t_j / s') + z')

        Sums are exact 32-bit integers, the rest is in the dtype of the network in this order, ties
        are rounded to even. So outputs are the same bits on every machine, for any number of
        threads and samples, and those of `pyfq.reference.forward_network`. Codes of inputs are
        ONNX QuantizeLinear of ``(x - input_mean) / input_scale``.

        Parameters
        ----------
        x : (samples, inputs) array_like, or iterable of them
            Inputs like those to come, finite, converted as `forward` does. Lists are batches. What
            is iterated over once, batch by batch, need not fit in memory; ``"ema"`` takes a step a
            batch.
        scheme : "affine" or "symmetric"
            Codes 0 ... 255 with a zero point, or -128 ... 127 without. Both are equally fast; what
            relu gives has no negative half, which affine codes do not waste.
        method, bins, percentile, momentum
            How ranges are found, as in `Observer`.

        Returns
        -------
        Network
            With `activation_bits` 8 and layers that have `x_scale`; calibrated anew if it was.

        Raises
        ------
        TypeError
            If an argument has the wrong type or dtype.
        ValueError
            If weights are none that go with `x_scale`, see `Dense`; if `x` has the wrong shape, no
            samples, or is not finite; if an option is none of these.

        See Also
        --------
        pyfq.correct_bias, pyfq.equalize : What makes a quantized network better.

        References
        ----------
        Jacob et al. 2018, arXiv 1712.05877; Krishnamoorthi 2018, arXiv 1806.08342, section 3; ONNX,
        QuantizeLinear, MatMulInteger, DequantizeLinear.

        Examples
        --------
        >>> from pyfq import quantize
        >>> x = np.random.default_rng(0).standard_normal((256, 64), np.float32)
        >>> network = Network.create((64, 32, 10))
        >>> small = network.map_weights(lambda w: quantize(w, 8)).calibrate(x)
        >>> small.activation_bits, small.layers[1].x_zero_point
        (8, 0)
        >>> bool(np.abs(small.forward(x) - network.forward(x)).max() < 0.1)
        True
        """
        new_observer = partial(
            Observer, method, bins=bins, percentile=percentile, momentum=momentum
        )
        ends = self.input_mean, self.input_scale
        found = input_codes(self.layers, ends, x, scheme, new_observer)
        layers = (
            replace(layer, x_scale=scale, x_zero_point=zero_point)
            for layer, (scale, zero_point) in zip(self.layers, found, strict=True)
        )
        return replace(self, layers=tuple(layers), activation_bits=8)

    @overload
    def forward(
        self,
        x: ArrayLike,
        *,
        out: NDArray | None = None,
        outside: Literal["ignore", "warn", "raise"] = "ignore",
    ) -> NDArray: ...

    @overload
    def forward(
        self, x: ArrayLike, *, out: NDArray | None = None, outside: Literal["count"]
    ) -> tuple[NDArray, NDArray[np.int64]]: ...

    def forward(
        self, x: ArrayLike, *, out: NDArray | None = None, outside: Outside = "ignore"
    ) -> NDArray | tuple[NDArray, NDArray[np.int64]]:
        """Return the outputs for some inputs.

        The outputs of a sample are the same bits for any number of threads; and for any number of
        samples, except that layers of `Sparse` weights may sum in another order.

        Parameters
        ----------
        x : (..., inputs) array_like
            Samples; one axis is one sample. An array of the network's dtype in C order is taken as
            it is; another, lists, a data frame, or a tensor of another library is converted first.
        out : (..., outputs) array of the network's dtype, optional
            Where to write; must not overlap `x`.
        outside : "ignore", "warn", "raise" or "count"
            What to do about inputs that are NaN, or beyond `input_min` and `input_max`, what the
            network was trained on. To look takes one pass over `x`.

        Returns
        -------
        (..., outputs) array of the network's dtype
            What the last layer gives, in the units of `output_scale` if there is one.
        (...,) int64
            With ``outside="count"``, how many inputs of each sample are outside.

        Raises
        ------
        TypeError
            If `x` are no numbers, or `out` has another dtype.
        ValueError
            If an array has the wrong shape; if a number is beyond the largest of the dtype, or
            inputs are quantized and not finite; if `out` is not C-contiguous; if inputs are outside
            and that is to raise, or the network does not know its range.
        FqError
            If inputs of a later layer are quantized and not finite.

        Examples
        --------
        >>> from pyfq import train
        >>> x = np.linspace(-1, 1, 100)[:, None]
        >>> network = Network.create((1, 8, 1), dtype=np.float64)
        >>> emulator = train(network, x, x**2, epochs=1).network
        >>> y, outside = emulator.forward([[0.5], [1.5]], outside="count")
        >>> outside
        array([0, 1])
        """
        dtype, k, n = self._ends
        x = as_floats(x, "x", dtype)
        shape = x.shape
        if not shape or shape[-1] != k:
            raise ValueError(f"x must have shape (..., {k}), not {shape}")
        counts = None if outside == "ignore" else self._look_outside(x, outside)
        if len(shape) == 2 and out is None:  # what almost always comes
            y = np.empty((shape[0], n), dtype)
            self._run(x, y)
        else:
            y = as_output(out, "out", dtype, (*shape[:-1], n), x)
            self._run(x.reshape(-1, k), y.reshape(-1, n))
        return y if counts is None else (y, counts)

    def _look_outside(self, x: NDArray, outside: Outside) -> NDArray[np.int64] | None:
        """Return how many inputs of each sample are outside, or tell of it, as is asked for."""
        as_choice(outside, "outside", get_args(Outside))
        if self.input_min is None:
            raise ValueError(
                f"outside must be 'ignore' for a network without a range, not {outside!r}: train "
                "it, or dataclasses.replace(network, input_min=..., input_max=...)"
            )
        counts = count_outside(x, self.input_min, self.input_max)
        if outside == "count":
            return counts
        if counts.any():
            text = outside_text(x, self.input_min, self.input_max, counts)
            if outside == "raise":
                raise ValueError(text)
            warnings.warn(text, stacklevel=3)
        return None

    def _run(self, x: NDArray, y: NDArray) -> None:
        """Write the outputs for (samples, inputs) to (samples, outputs)."""
        batch = len(x)
        if not batch:
            return
        model = self._model_for(batch)
        forward = getattr(model.lib, f"fq_forward_network_{model.kind}")
        info = forward(x, model.memory, y, get_num_threads())
        if info == NOT_FINITE:
            refuse_not_finite({"x": x})
            raise FqError("forward_network", info, self._layer_of_overflow(x))
        if info:
            raise FqError("forward_network", info)

    def _layer_of_overflow(self, x: NDArray) -> str:
        """Return which layer gets NaN or Inf where it is to quantize, of inputs without any."""
        for i in range(1, len(self.layers)):
            before = replace(
                self, layers=self.layers[:i], output_mean=None, output_scale=None, classes=None
            )
            if not np.isfinite(before.forward(x)).all():
                return f"layers[{i}]"
        return "layers[0]"  # whose inputs overflow as they are scaled

    def vjp(self, x: ArrayLike, v: ArrayLike) -> NDArray:
        r"""Return :math:`J^T v`, the cotangent of inputs for one of outputs (reverse mode).

        :math:`J_{ij} = \partial y_i / \partial x_j` is the Jacobian of `forward` at x, in the
        units that `forward` takes and returns. Where an activation function has a kink, its
        derivative is that from below: 0 of relu at 0.

        Parameters
        ----------
        x : (..., inputs) array_like
            Where to differentiate, converted as `forward` does.
        v : (..., outputs) array_like
            A vector for each sample, such as the gradient of a cost by the outputs.

        Returns
        -------
        (..., inputs) array of the network's dtype
            The products; with a gradient of a cost by outputs, its gradient by inputs. Bits are the
            same for any number of threads.

        Raises
        ------
        TypeError
            If an argument is no numbers.
        ValueError
            If an array has the wrong shape; or if inputs are quantized (`activation_bits`), since
            codes jump.

        See Also
        --------
        jvp : The Jacobian times a vector of inputs, forward mode.
        jacobian : The whole matrix.

        References
        ----------
        Griewank & Walther 2008, Evaluating derivatives, 2nd edition, chapter 3.

        Examples
        --------
        >>> network = Network([Dense(np.array([[1.0, 2.0], [0.5, -1.0]]), activation="tanh")])
        >>> network.vjp([[0.0, 0.0]], [[1.0, 0.0]])
        array([[1., 2.]])
        """
        refuse_codes(self.activation_bits)
        dtype, k, n = self._ends
        x, v = as_point_and_factor(x, v, dtype, k, n)
        return self._pull_back(x.reshape(-1, k), v.reshape(-1, 1, n)).reshape(x.shape)

    def jvp(self, x: ArrayLike, v: ArrayLike) -> NDArray:
        r"""Return :math:`J v`, the tangent of outputs for one of inputs (forward mode).

        Parameters
        ----------
        x : (..., inputs) array_like
            Where to differentiate, converted as `forward` does.
        v : (..., inputs) array_like
            A direction for each sample.

        Returns
        -------
        (..., outputs) array of the network's dtype
            The directional derivatives: how outputs change for a small step along v. Bits are the
            same for any number of threads.

        Raises
        ------
        TypeError, ValueError
            As `vjp`.

        See Also
        --------
        vjp : Its adjoint; says what J is.
        jacobian : The whole matrix.

        Examples
        --------
        >>> network = Network([Dense(np.array([[1.0, 2.0], [0.5, -1.0]]), activation="tanh")])
        >>> network.jvp([[0.0, 0.0]], [[0.0, 1.0]])
        array([[ 2., -1.]])
        """
        refuse_codes(self.activation_bits)
        dtype, k, n = self._ends
        x, v = as_point_and_factor(x, v, dtype, k, k)
        product = self._push_forward(x.reshape(-1, k), v.reshape(-1, 1, k))
        return product.reshape(*x.shape[:-1], n)

    def jacobian(self, x: ArrayLike) -> NDArray:
        """Return the derivative of each output by each input, sample by sample.

        Parameters
        ----------
        x : (..., inputs) array_like
            Where to differentiate, converted as `forward` does.

        Returns
        -------
        (..., outputs, inputs) array of the network's dtype
            The Jacobians, by rows with `vjp`, or by columns with `jvp` if there are fewer inputs.

        Raises
        ------
        TypeError, ValueError
            As `vjp`.

        Examples
        --------
        >>> network = Network([Dense(np.array([[1.0, 2.0], [0.5, -1.0]]), activation="relu")])
        >>> network.jacobian([1.0, 1.0])
        array([[1., 2.],
               [0., 0.]])
        """
        refuse_codes(self.activation_bits)
        dtype, k, n = self._ends
        x = as_point(x, dtype, k)
        samples = x.reshape(-1, k)
        directions = np.eye(min(n, k), dtype=dtype)
        v = np.ascontiguousarray(np.broadcast_to(directions, (len(samples), *directions.shape)))
        if n <= k:
            product = self._pull_back(samples, v)
        else:
            product = np.ascontiguousarray(self._push_forward(samples, v).swapaxes(1, 2))
        return product.reshape(*x.shape[:-1], n, k)

    def _pull_back(self, x: NDArray, v: NDArray) -> NDArray:
        """Return transposed Jacobians times ``(samples, directions, outputs)``."""
        model = self._model_for(max(1, v.shape[0] * v.shape[1]))
        transposed = model_for(self._transposed, 1)
        if transposed is None:
            transposed = transpose_layers(self.layers, self.dtype)
            self._transposed.append(transposed)
        return multiply_jacobian(model, transposed, x, v, self.sizes[0])

    def _push_forward(self, x: NDArray, v: NDArray) -> NDArray:
        """Return Jacobians times ``(samples, directions, inputs)``."""
        model = self._model_for(max(1, v.shape[0] * v.shape[1]))
        return multiply_jacobian(model, None, x, v, self.sizes[-1])

    def _model_for(self, batch: int) -> Model:
        """Return the model for so many samples: one that there is, or a new one."""
        model = model_for(self._models, batch)
        if model is None:
            model = self._build(batch)
            self._models.append(model)
        return model

    def predict(self, x: ArrayLike) -> NDArray:
        """Return the most likely class of each sample, or the outputs of a network without classes.

        Parameters
        ----------
        x : (..., inputs) array_like
            Samples, as `forward` takes them.

        Returns
        -------
        (...,) array of the dtype of `classes`, or (..., outputs) array
            The class whose output is the largest, the first of equals.

        Raises
        ------
        TypeError, ValueError
            As `forward`; if an output that a class is chosen by is NaN.

        Examples
        --------
        >>> network = Network([Dense(np.eye(2))], classes=np.array(["cat", "dog"]))
        >>> network.predict(np.array([[0.1, 0.9], [0.8, 0.2]]))
        array(['dog', 'cat'], dtype='<U3')
        """
        y = self.forward(x)
        return y if self.classes is None else choose_classes(y, self.classes)

    def _build(self, batch: int) -> Model:
        """Make the model for so many samples."""
        layers: list[ModelLayer] = []
        for layer in self.layers:
            last = layer.bias, layer.activation
            if layer.x_scale is not None:
                scale = np.array([layer.x_scale], self.dtype)
                static = scale, layer.x_zero_point
                layers.append(ModelLayer(decoded(layer.weights), *last, False, *static))
                continue
            *before, w = map(decoded, matrices_of(layer))
            layers += map(ModelLayer, before)
            coded = self._takes_codes(layer.weights)
            layers.append(ModelLayer(w, *last, coded))
        ends = [getattr(self, name) for name in ENDS]
        return build(layers, self.dtype, batch, ends)

    def _takes_codes(self, w: Weights) -> bool:
        """Tell whether inputs of a layer become codes, as its weights are."""
        if self.activation_bits is None:
            return False
        if isinstance(w, Sparse):
            return w.scale is not None
        return isinstance(w, Quantized | RateQuantized) and decoded(w).bits <= 8


def choose_classes(y: NDArray, classes: NDArray) -> NDArray:
    """Return the class of the largest output of each sample, the first of equals.

    Raises
    ------
    ValueError
        If an output is NaN.
    """
    if np.isnan(y).any():
        first = int(np.flatnonzero(np.isnan(y).any(axis=-1))[0])
        raise ValueError(
            f"outputs must not be NaN to choose a class by, but those of sample {first} are"
        )
    return np.asarray(classes)[y.argmax(axis=-1)]


def _as_classes(classes: Any, outputs: int) -> NDArray:
    """Return labels that nobody can write to, one for each output."""
    labels = np.array(classes)
    if labels.shape != (outputs,):
        raise ValueError(f"classes must have shape ({outputs},), not {labels.shape}")
    if labels.dtype.kind not in "biufU":
        raise TypeError(f"classes must be numbers or strings, not {labels.dtype}")
    if labels.dtype.kind == "f":
        refuse_not_finite({"classes": labels})
    if len(np.unique(labels)) < outputs:
        raise ValueError(f"classes must differ from each other, not {shown(labels.tolist())}")
    labels.flags.writeable = False
    return labels

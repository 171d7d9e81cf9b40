"""Modules of PyTorch become networks that compute what ``module.eval()(x)`` does, or are refused.

Each table makes a module in one way; PyTorch's own forward pass is what is right.
"""

import copy
import functools
import re
import types
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pyfq

torch = pytest.importorskip("torch", reason="needs the oracles extra")

from torch import nn  # noqa: E402
from torch.nn.utils import parametrizations, parametrize, prune  # noqa: E402

# torch.nn.utils.weight_norm is deprecated, TorchScript and dynamic quantization are, too.
pytestmark = pytest.mark.filterwarnings("ignore")


def chain():
    inner = nn.Sequential(nn.Linear(6, 6), nn.Tanh())
    return nn.Sequential(nn.Linear(6, 6), nn.ReLU(), inner, nn.Linear(6, 3))


def stepped(module):
    """Return a module after a step of training, which leaves behind what hooks computed for it."""
    optimizer = torch.optim.SGD(module.parameters(), 0.5)
    module(torch.randn(9, 6)).pow(2).mean().backward()
    optimizer.step()
    return module


def check_same(module):
    """Compare with PyTorch, in inference, for other samples than were used before."""
    modes = [each.training for each in module.modules()]
    network = pyfq.from_torch(module)
    assert [each.training for each in module.modules()] == modes
    x = torch.randn(20, 6)
    with torch.no_grad():
        want = module.eval()(x).numpy()
    room = 1e-5 * max(np.abs(want).max(), 1)
    np.testing.assert_allclose(network.forward(x.numpy()), want, rtol=0, atol=room)


# ---------------------------------------------------------------------------------- the same


class Symmetric(nn.Module):
    def forward(self, x):
        return x.triu() + x.triu(1).T


class Doubled(nn.Module):
    def forward(self, x):
        return torch.cat([x, x])


class DroppedOut(nn.Module):
    def forward(self, x):
        return nn.functional.dropout(x, 0.5, self.training)


class EveryOther(prune.BasePruningMethod):
    PRUNING_TYPE = "unstructured"

    def compute_mask(self, t, default_mask):
        mask = default_mask.clone()
        mask.view(-1)[::2] = 0
        return mask


class Eye(nn.Linear):
    def reset_parameters(self):
        nn.init.eye_(self.weight)
        nn.init.ones_(self.bias)


class Head(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(6, 3), nn.ReLU())

    def describe(self):
        return "a head"


def pruned(module):
    prune.l1_unstructured(module[0], "weight", 0.5)


def pruned_several_times(module):
    pruned(module)
    prune.random_structured(module[0], "weight", 0.3, dim=0)
    prune.ln_structured(module[0], "weight", 0.3, n=2, dim=1)
    prune.random_unstructured(module[0], "bias", 0.5)
    prune.custom_from_mask(module[2][0], "weight", torch.eye(6))
    prune.identity(module[3], "weight")


def pruned_globally(module):
    tensors = [(module[0], "weight"), (module[3], "weight"), (module[3], "bias")]
    prune.global_unstructured(tensors, prune.L1Unstructured, amount=0.4)


def weight_norm_of_hooks(module):
    nn.utils.weight_norm(module[0])
    nn.utils.weight_norm(module[3], dim=None)
    nn.utils.weight_norm(module[2][0], "bias")


def spectral_norm_of_hooks(module):
    nn.utils.spectral_norm(module[0])
    nn.utils.spectral_norm(module[3], n_power_iterations=3)


def weight_norm(module):
    parametrizations.weight_norm(module[0])
    parametrizations.weight_norm(module[3], dim=1)


def spectral_norm(module):
    parametrizations.spectral_norm(module[0])


def orthogonal(module):
    parametrizations.orthogonal(module[0])
    parametrizations.orthogonal(module[3], orthogonal_map="householder")


def own_parametrizations(module):
    parametrize.register_parametrization(module[0], "weight", Symmetric())
    parametrize.register_parametrization(module[0], "weight", Symmetric())
    parametrize.register_parametrization(module[2][0], "weight", DroppedOut())
    parametrize.register_parametrization(module[2][0], "bias", DroppedOut())


def pruned_and_normalized(module):
    prune.l1_unstructured(module[0], "bias", 0.5)
    parametrizations.weight_norm(module[0])


CHANGES = [
    pruned, pruned_several_times, pruned_globally, weight_norm_of_hooks, spectral_norm_of_hooks,
    weight_norm, spectral_norm, orthogonal, own_parametrizations, pruned_and_normalized,
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_weights_are_those_of_the_next_call(change):
    torch.manual_seed(0)
    module = chain()
    change(module)
    check_same(module)
    check_same(stepped(module.train()))
    check_same(stepped(module.train()))


@pytest.mark.parametrize("change", CHANGES)
def test_weights_are_those_of_the_state_dict_that_was_loaded(change):
    torch.manual_seed(0)
    source, module = chain(), chain()
    change(source)
    change(module)
    module(torch.randn(2, 6))
    module.load_state_dict(stepped(source).state_dict())
    check_same(module)


def test_pruning_that_was_removed_is_plain():
    torch.manual_seed(0)
    module = chain()
    pruned(module)
    stepped(module)
    prune.remove(module[0], "weight")
    check_same(module)
    again = chain()
    pruned(again)
    stepped(again)
    again[0]._forward_pre_hooks.clear()  # `weight` is what the last call used, and stays so
    check_same(again)


def pruned_by_a_method_of_their_own():
    module = chain()
    EveryOther.apply(module[0], "weight")
    return stepped(module)


def parametrized_to_another_shape():
    module = nn.Sequential(nn.Linear(6, 6, bias=False), nn.ReLU(), nn.Linear(12, 3))
    parametrize.register_parametrization(module[0], "weight", Doubled(), unsafe=True)
    return module


def copied_parametrizations():
    module = chain()
    orthogonal(module)
    return copy.deepcopy(module)


def backward_hooks():
    module = chain()
    module[0].register_full_backward_hook(lambda *_: None)
    module.register_full_backward_pre_hook(lambda *_: None)
    module[0].weight.register_hook(lambda gradient: 2 * gradient)
    return module


def shared_layers():
    linear, relu = nn.Linear(6, 6), nn.ReLU()
    pruned([linear])
    return stepped(nn.Sequential(linear, relu, linear, relu, nn.Linear(6, 3)))


def tied_weights():
    module = chain()
    module[2][0].weight = module[0].weight
    return stepped(module)


def with_weight(weight, attribute="attribute"):
    module = chain()
    del module[0].weight
    match attribute:
        case "attribute":
            module[0].weight = weight
        case "buffer":
            module[0].register_buffer("weight", weight)
        case "dict":
            module[0].weight = nn.Parameter(torch.zeros(6, 6))
            module[0].__dict__["weight"] = weight
    return module


def lazy_after_a_batch():
    module = nn.Sequential(nn.LazyLinear(4))
    module(torch.ones(2, 6))
    return module


def attributes_that_are_not_true():
    module = chain()
    module[0].in_features, module[0].out_features = 99, 1
    return module


def dropout_in_training():
    return nn.Sequential(
        nn.Linear(6, 6), nn.Dropout(0.9), nn.ReLU(), nn.Dropout(0.9, inplace=True), nn.Linear(6, 3)
    ).train()


@pytest.mark.parametrize(
    "make",
    [
        pruned_by_a_method_of_their_own,
        parametrized_to_another_shape,
        copied_parametrizations,
        backward_hooks,
        shared_layers,
        tied_weights,
        lazy_after_a_batch,
        attributes_that_are_not_true,
        dropout_in_training,
        Head,
        lambda: nn.Sequential(Eye(6, 3)),
        lambda: with_weight(torch.randn(6, 6)),
        lambda: with_weight(torch.randn(6, 6), "buffer"),
        lambda: with_weight(torch.randn(6, 6), "dict"),
        lambda: with_weight(nn.Parameter(torch.randn(6, 6).T)),
        lambda: with_weight(nn.Parameter(torch.randn(20, 20)[3:15:2, 4:10])),
        lambda: with_weight(torch.imag(torch.randn(6, 6, dtype=torch.complex64).conj())),
        lambda: with_weight(torch.ones(1, 6).expand(6, 6)),
        lambda: chain().requires_grad_(False),
        lambda: nn.Sequential(nn.Linear(6, 3), nn.Softmax(None)),
        lambda: nn.Sequential(nn.Identity(), nn.Flatten(), nn.Linear(6, 3), nn.Sequential()),
    ],
)
def test_modules_are_the_same_however_they_were_made(make):
    torch.manual_seed(0)
    check_same(make())


# ---------------------------------------------------------------------------------- refused


class Twice(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


class Called(nn.Linear):
    def __call__(self, x):
        return 2 * super().__call__(x)


class Scaled(nn.Linear):
    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.raw = nn.Parameter(self.weight.data)
        del self._parameters["weight"]

    @property
    def weight(self):
        return 3 * self.raw


class Backwards(nn.Sequential):
    def __iter__(self):
        return reversed(self._modules.values())


class AlwaysDropout(nn.Dropout):
    def train(self, mode=True):
        return super().train(True)


class SamplingDropout(nn.Dropout):
    training = property(lambda self: True, lambda self, mode: None)


class ClassDropout(nn.Dropout):
    training = True

    def __setattr__(self, name, value):
        if name != "training":
            super().__setattr__(name, value)


class Unsteady(nn.LeakyReLU):
    negative_slope = property(lambda self: torch.rand(()).item(), lambda self, slope: None)


class Negative(nn.ReLU):
    def forward(self, x):
        return -x


class Noisy(nn.Module):
    def forward(self, x):
        return x + torch.randn_like(x)


class Fully(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        return self.fc2(self.fc1(x).relu())


class TwiceAsMuch(EveryOther):
    def apply_mask(self, module):
        return 2 * super().apply_mask(module)


class Subclass(torch.Tensor):
    pass


def twice(module, inputs, *rest):
    return tuple(2 * x for x in inputs) if not rest else 2 * rest[-1]


def twice_with_keywords(module, inputs, keywords):
    return tuple(2 * x for x in inputs), keywords


def edited(edit):
    module = chain()
    edit(module)
    return module


def pruned_factor(module):
    nn.utils.weight_norm(module[0])
    prune.l1_unstructured(module[0], "weight_v", 0.5)


def weight_beside_pruning(module):
    pruned(module)
    module[0].weight = nn.Parameter(torch.ones(6, 6))


def in_itself(module):
    module[2].append(module)


WHERE = r"module 0 \((Parametrized)?Linear\): "


def without_a_mode_of_its_own(module):
    """Append a Dropout whose mode is that of its class."""
    dropout = nn.Dropout()
    del dropout.training
    dropout.__class__ = type("Mine", (nn.Dropout,), {"training": True})
    module.append(dropout)


@pytest.mark.parametrize(
    ("edit", "match"),
    [
        (lambda m: m.append(SamplingDropout()), r"\(SamplingDropout\): has training of its own"),
        (lambda m: m.append(ClassDropout()), r"\(ClassDropout\): has __setattr__, training of"),
        (without_a_mode_of_its_own, r"module 4 \(Mine\): has training of its own"),
        (lambda m: m.append(Unsteady()), r"4 \(Unsteady\): has negative_slope of its own"),
        (lambda m: m[1].register_forward_hook(twice), r"module 1 \(ReLU\): .* forward hook twice"),
        (lambda m: m[0].register_forward_hook(twice, prepend=True), WHERE + ".* hook twice may"),
        (lambda m: m[2].register_forward_hook(twice, always_call=True), r"module 2 \(Sequential\)"),
        (lambda m: m[2][1].register_forward_hook(twice, with_kwargs=True), r"module 2\.1 \(Tanh\)"),
        (lambda m: m.register_forward_hook(twice), r"module \(itself\) \(Sequential\): .* twice"),
        (lambda m: m[0].register_forward_pre_hook(twice), WHERE + "the forward pre-hook twice"),
        (lambda m: m[1].register_forward_pre_hook(twice), r"1 \(ReLU\): the forward pre-hook"),
        (lambda m: m.register_forward_pre_hook(twice), r"module \(itself\) \(Sequential\)"),
        (
            lambda m: m[0].register_forward_pre_hook(twice_with_keywords, with_kwargs=True),
            WHERE + "the forward pre-hook twice_with_keywords",
        ),
        (
            lambda m: m[0].register_forward_pre_hook(functools.partial(twice)),
            WHERE + "the forward pre-hook partial",
        ),
        (lambda m: setattr(m[0], "forward", torch.relu), WHERE + "has forward of its own"),
        (lambda m: setattr(m, "forward", torch.relu), r"\(itself\) \(Sequential\): has forward"),
        (lambda m: setattr(m[0], "_call_impl", torch.relu), WHERE + "has _call_impl of its own"),
        (lambda m: setattr(m[0], "forward", torch.compile(m[0].forward)), "has forward of its own"),
        (lambda m: TwiceAsMuch.apply(m[0], "weight"), WHERE + ".* pre-hook TwiceAsMuch"),
        (pruned_factor, WHERE + ".* pre-hook WeightNorm"),
        (weight_beside_pruning, WHERE + ".* pre-hook L1Unstructured"),
        (
            lambda m: parametrize.register_parametrization(m[0], "weight", Noisy()),
            WHERE + "the parametrization of weight gives another value each time",
        ),
        (lambda m: m.compile(), r"module \(itself\) .* is compiled: pass copy\.deepcopy\(module\)"),
        (lambda m: setattr(m[0], "weight", None), WHERE + "has no weight"),
        (lambda m: delattr(m[0], "weight"), WHERE + "has no weight"),
        (lambda m: delattr(m[0], "bias"), WHERE + "has no bias"),
        (lambda m: m.add_module("last", None), r"module last \(NoneType\): expected one of"),
        (in_itself, r"module 2\.2 \(Sequential\): is in itself"),
        (lambda m: m.append(Fully()), r"module 4 \(Fully\): .* Only Sequential says"),
        (lambda m: m.append(nn.ModuleList([nn.Linear(3, 3)])), r"module 4 \(ModuleList\)"),
        (lambda m: m.append(nn.MultiheadAttention(4, 1)), r"module 4 \(MultiheadAttention\)"),
        (lambda m: m.append(nn.LazyLinear(3)), r"4 \(LazyLinear\): is not initialized: call"),
        (lambda m: m.append(nn.Linear(3, 2, device="meta")), r"4 \(Linear\): .* the meta device"),
        (lambda m: m.append(nn.Linear(3, 0)), r"module 4 \(Linear\): weights must have shape"),
        (lambda m: m[0].weight.data.fill_(np.nan), WHERE + "weights must be finite"),
        (
            lambda m: setattr(m[0], "bias", nn.Parameter(torch.zeros(()))),
            WHERE + r"bias must have shape \(6,\), not \(\)",
        ),
        (lambda m: m[2][0].bias.data.fill_(np.inf), r"module 2\.0 \(Linear\): bias must be finite"),
    ],
)  # fmt: skip
def test_what_may_compute_something_else_is_refused_by_name(edit, match):
    module = edited(edit)
    with pytest.raises(ValueError, match=match):
        pyfq.from_torch(module)


@pytest.mark.parametrize(
    ("leaf", "match"),
    [
        (lambda: Twice(6, 3), r"module 0 \(Twice\): has forward of its own, .* Linear does"),
        (lambda: Called(6, 3), r"module 0 \(Called\): has __call__ of its own"),
        (lambda: Scaled(6, 3), r"module 0 \(Scaled\): has weight of its own"),
        (lambda: Backwards(nn.Linear(6, 6)), r"module 0 \(Backwards\): has __iter__ of its own"),
        (AlwaysDropout, r"module 0 \(AlwaysDropout\): has train of its own"),
        (Negative, r"module 0 \(Negative\): has forward of its own"),
        (lambda: torch.compile(chain()), r"is compiled: pass module\._orig_mod"),
        (lambda: torch.jit.script(chain()), r"is TorchScript: pass the module that was scripted"),
        (lambda: torch.jit.trace(chain(), torch.ones(1, 6)), "is TorchScript"),
        (lambda: torch.fx.symbolic_trace(chain()), "is a traced graph: pass the module"),
        (lambda: nn.DataParallel(chain()), r"wraps a module: pass module\.module"),
        (lambda: torch.optim.swa_utils.AveragedModel(chain()), "wraps a module"),
        (
            lambda: torch.ao.quantization.quantize_dynamic(chain(), {nn.Linear})[0],
            "is quantized: pass the module before quantization",
        ),
        (lambda: with_weight(nn.Parameter(torch.eye(6).to_sparse()))[0], "weight is sparse"),
        (lambda: with_weight(nn.Parameter(torch.eye(6).to_sparse_csr()))[0], "weight is sparse"),
        (lambda: with_weight(np.eye(6))[0], "weight must be a plain tensor, not ndarray"),
        (
            lambda: with_weight(nn.Parameter(torch.eye(6).as_subclass(Subclass)))[0],
            "weight must be a plain tensor, not Subclass",
        ),
    ],
)  # fmt: skip
def test_other_classes_are_refused_by_name(leaf, match):
    with pytest.raises(ValueError, match=match):
        pyfq.from_torch(nn.Sequential(leaf()))


def test_dtypes_are_refused_by_name():
    for dtype in (torch.float16, torch.bfloat16, torch.complex64):
        word = str(dtype).removeprefix("torch.")
        hint = (
            r"from_torch\(module, dtype=numpy\.float32\)" if dtype.is_floating_point else "arrays"
        )
        match = rf"module 0 \(Linear\): weights must be float32 or float64, not {word}: pass {hint}"
        with pytest.raises(TypeError, match=match):
            pyfq.from_torch(chain().to(dtype))
    for norm in (nn.utils.weight_norm, parametrizations.weight_norm):
        with pytest.raises(ValueError, match=WHERE + "PyTorch can't compute its weights: .*norm"):
            pyfq.from_torch(edited(lambda m, norm=norm: norm(m[0])).to(torch.complex64))
    mixed = edited(lambda m: m[3].double())
    with pytest.raises(TypeError, match=r"module 3 \(Linear\): weights must be float32 as before"):
        pyfq.from_torch(mixed)
    slope = nn.LeakyReLU()
    slope.negative_slope = None
    with pytest.raises(TypeError, match=r"module 1 \(LeakyReLU\): slope of activation"):
        pyfq.from_torch(nn.Sequential(nn.Linear(6, 3), slope))
    with pytest.raises(TypeError, match="not OrderedDict: from_arrays takes the arrays"):
        pyfq.from_torch(chain().state_dict())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtypes_are_converted_when_asked(dtype):
    for half in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        module = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.PReLU(), nn.Linear(5, 3))
        module = observed(module, 6).to(half)
        network = pyfq.from_torch(module, dtype=dtype)
        assert network.dtype == dtype
        x = torch.randn(20, 6, dtype=torch.float64)
        with torch.no_grad():
            want = module.double().eval()(x).numpy()
        got = network.forward(x.numpy().astype(dtype))
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-5 * np.abs(want).max())
    with pytest.raises(TypeError, match="dtype must be float32 or float64, not float16"):
        pyfq.from_torch(chain(), dtype=np.float16)


def test_numbers_that_a_dtype_does_not_hold_are_refused_by_name():
    module = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5)).double().eval()
    module[0].weight.data[1, 2] = -1e300
    match = (
        r"module 0 \(Linear\): weight holds -1e\+300, which is beyond float32: pass "
        r"from_torch\(module, dtype=numpy\.float64\)"
    )
    with pytest.raises(ValueError, match=match):
        pyfq.from_torch(module, dtype=np.float32)
    assert pyfq.from_torch(module, dtype=np.float64).dtype == np.float64
    module[0].weight.data[1, 2] = np.inf
    with pytest.raises(ValueError, match=r"weights must be finite, but weights\[1, 2\] is -?inf"):
        pyfq.from_torch(module, dtype=np.float32)
    module = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU())
    module[0].weight.data.fill_(1e38)
    module[1].weight.data.fill_(100)
    match = r"1 \(BatchNorm1d\): as part of module 0 \(Linear\) it makes weights .* beyond float32"
    with pytest.raises(ValueError, match=match):
        pyfq.from_torch(module)


@pytest.mark.parametrize(
    "register",
    [nn.modules.module.register_module_forward_hook,
     nn.modules.module.register_module_forward_pre_hook],
)  # fmt: skip
def test_hooks_of_all_modules_are_refused(register):
    handle = register(twice)
    try:
        with pytest.raises(ValueError, match=r"all modules: the forward .*hook twice may"):
            pyfq.from_torch(chain())
    finally:
        handle.remove()
    check_same(chain())


@pytest.mark.parametrize(
    ("cls", "method"),
    [(nn.Linear, "forward"), (nn.Sequential, "forward"), (nn.Module, "__call__"),
     (nn.ReLU, "__call__"), (nn.Module, "_call_impl")],
)  # fmt: skip
def test_classes_that_were_changed_are_refused(cls, method, monkeypatch):
    old = getattr(cls, method)

    @functools.wraps(old)
    def new(self, *inputs):
        return 2 * old(self, *inputs)

    monkeypatch.setattr(cls, method, new, raising=False)
    with pytest.raises(ValueError, match=rf"module .*\.{method} is not that of PyTorch"):
        pyfq.from_torch(chain())


USES = {
    "linear": nn.Linear(6, 6), "relu": nn.ReLU(), "silu": nn.SiLU(), "gelu": nn.GELU(),
    "leaky_relu": nn.LeakyReLU(), "softplus": nn.Softplus(), "softmax": nn.Softmax(-1),
    "dropout": nn.Dropout(), "tanh": nn.Tanh(), "sigmoid": nn.Sigmoid(), "elu": nn.ELU(),
    "selu": nn.SELU(), "celu": nn.CELU(), "hardtanh": nn.ReLU6(), "prelu": nn.PReLU(),
    "alpha_dropout": nn.AlphaDropout(), "batch_norm": nn.BatchNorm1d(6),
}  # fmt: skip


@pytest.mark.parametrize(
    ("place", "name"),
    [(p, name) for p in (torch, nn.functional) for name in USES if hasattr(p, name)],
)
def test_functions_that_were_replaced_are_refused(name, place, monkeypatch):
    """Forward methods are PyTorch's, but what they call is not."""
    module = nn.Sequential(nn.Linear(6, 6), USES[name]).eval()
    check_same(module)
    old = getattr(place, name)
    wrapped = functools.wraps(old)(lambda *a, **k: 2 * old(*a, **k))
    for new in (wrapped, lambda *_: 0, torch.cos, 5):
        monkeypatch.setattr(place, name, new)
        with pytest.raises(ValueError, match=rf"module .*: {place.__name__}\.{name} is not that"):
            pyfq.from_torch(module)
    monkeypatch.setattr(place, name, old)
    check_same(module)


def test_functions_of_another_module_under_its_name_are_refused(monkeypatch):
    module = nn.Sequential(nn.Linear(6, 6))
    monkeypatch.setattr(nn.modules.linear, "F", types.SimpleNamespace(linear=lambda *_: 0))
    with pytest.raises(ValueError, match=r"F of torch\.nn\.modules\.linear is not torch\.nn\.func"):
        pyfq.from_torch(module)


def test_names_of_modules_are_those_of_pytorch():
    module = nn.Sequential()
    module.add_module("body", nn.Sequential())
    module.body.add_module("fc", nn.Linear(6, 3))
    module.body.fc.register_forward_hook(twice)
    with pytest.raises(ValueError, match=r"module body\.fc \(Linear\): the forward hook twice"):
        pyfq.from_torch(module)


# ---------------------------------------------------------------------- normalization, activations


def observed(module, features, momentum_steps=5):
    """Return a module whose normalizations have seen batches, and have factors of their own."""
    module.train()
    for _ in range(momentum_steps):
        module(3 * torch.randn(64, features) + 2)
    for each in module.modules():
        if isinstance(each, nn.BatchNorm1d) and each.affine:
            nn.init.uniform_(each.weight, -2, 2)
            nn.init.uniform_(each.bias, -1, 1)
    return module


@pytest.mark.parametrize("norm", [nn.BatchNorm1d, lambda n: nn.BatchNorm1d(n, 0.1, None, False)])
@pytest.mark.parametrize(
    "make",
    [
        lambda norm: [nn.Linear(6, 5), norm(5), nn.ReLU(), nn.Linear(5, 3)],
        lambda norm: [nn.Linear(6, 5, bias=False), norm(5), nn.Tanh(), nn.Linear(5, 3)],
        lambda norm: [nn.Linear(6, 5), nn.ReLU(), norm(5), nn.Linear(5, 3), nn.Softmax(-1)],
        lambda norm: [nn.Linear(6, 5), nn.GELU(), norm(5), norm(5), nn.Linear(5, 3)],
        lambda norm: [norm(6), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)],
        lambda norm: [nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3), norm(3)],
        lambda norm: [norm(6), nn.Linear(6, 5), nn.ELU(), norm(5)],
        lambda norm: [nn.Linear(6, 5), nn.Flatten(), norm(5), nn.Hardtanh(), nn.Linear(5, 3)],
    ],
)  # fmt: skip
def test_batch_norm_is_folded(make, norm):
    torch.manual_seed(1)
    check_same(observed(nn.Sequential(*make(norm)), 6))


def test_batch_norm_before_the_first_layer_is_means_and_scales():
    module = observed(nn.Sequential(nn.BatchNorm1d(6, affine=False), nn.Linear(6, 3)), 6)
    network = pyfq.from_torch(module)
    np.testing.assert_allclose(network.input_mean, module[0].running_mean, rtol=1e-5)
    np.testing.assert_array_equal(network.layers[0].weights, module[1].weight.detach())


def test_batch_norm_without_running_means_is_refused():
    for norm in (nn.BatchNorm1d(5, track_running_stats=False), nn.BatchNorm1d(5)):
        norm.running_mean = None
        module = nn.Sequential(nn.Linear(6, 5), norm)
        with pytest.raises(
            ValueError, match=r"1 \(BatchNorm1d\): track_running_stats must be True"
        ):
            pyfq.from_torch(module)
    norm = nn.BatchNorm1d(5)
    norm.running_var.fill_(-1)
    with pytest.raises(ValueError, match=r"1 \(BatchNorm1d\): expected finite numbers, and pos"):
        pyfq.from_torch(nn.Sequential(nn.Linear(6, 5), norm))


@pytest.mark.parametrize(
    "activation",
    [
        nn.ELU(), nn.ELU(0.3), nn.SELU(), nn.CELU(), nn.CELU(0.4), nn.ReLU6(), nn.Hardtanh(),
        nn.Hardtanh(-0.3, 0.2), nn.Hardtanh(0.1, 2.5), nn.Hardtanh(-64.0, 9999.0), nn.PReLU(),
        nn.PReLU(init=-0.5), nn.PReLU(5),
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("last", [True, False])
def test_activations_are_the_same(activation, last):
    torch.manual_seed(2)
    behind = [] if last else [nn.Linear(5, 3)]
    check_same(nn.Sequential(nn.Linear(6, 5), activation, *behind))
    check_same(nn.Sequential(nn.Linear(6, 5), nn.AlphaDropout(), activation, *behind))


@pytest.mark.parametrize(
    ("leaf", "match"),
    [
        (lambda: nn.Hardtanh(-np.inf, 1), r"\(Hardtanh\): min_val must be -64 \.\.\. .*, not -inf"),
        (
            lambda: nn.Hardtanh(-1e30, 1),
            r"\(Hardtanh\): min_val must be -64 \.\.\. .*, not -1e\+30",
        ),
        (
            lambda: with_attributes(nn.Hardtanh(), min_val=3.0, max_val=1.0),
            r"\(Hardtanh\): min_val must be less than max_val, not 3\.0 and 1\.0",
        ),
        (
            lambda: with_attributes(nn.ReLU6(), max_val=np.nan),
            r"\(ReLU6\): max_val must be .*, not nan",
        ),
        (lambda: nn.CELU(-1.0), r"1 \(CELU\): alpha must be 8\.67\S* \.\.\. 1\.15\S*, not -1"),
        (lambda: nn.CELU(np.inf), r"1 \(CELU\): alpha must be .*, not inf"),
        (lambda: nn.CELU(np.nan), r"1 \(CELU\): alpha must be .*, not nan"),
        (lambda: nn.CELU(0), r"1 \(CELU\): alpha must be .*, not 0"),
        (lambda: nn.ELU(np.inf), r"1 \(ELU\): alpha of activation must be .*, not inf"),
        (lambda: nn.LeakyReLU(np.nan), r"1 \(LeakyReLU\): slope of activation must be .*, not nan"),
        (lambda: nn.Softplus(2), r"1 \(Softplus\): beta must be 1, not 2"),
        (
            lambda: nn.Softplus(1, np.inf),
            r"1 \(Softplus\): threshold must be 20 \.\.\. 88, not inf",
        ),
        (
            lambda: nn.Flatten(0, 1),
            r"1 \(Flatten\): expected Flatten\(1, -1\), which leaves samples",
        ),
        (lambda: nn.LayerNorm(5), r"module 1 \(LayerNorm\): expected one of Linear"),
        (lambda: nn.Mish(), r"module 1 \(Mish\): expected one of Linear"),
    ],
)
def test_what_is_not_exact_is_refused_by_name(leaf, match):
    with pytest.raises(ValueError, match=match):
        pyfq.from_torch(nn.Sequential(nn.Linear(6, 5), leaf()))


def with_attributes(module, **attributes):
    for name, value in attributes.items():
        setattr(module, name, value)
    return module


@pytest.mark.parametrize(
    ("leaf", "match"),
    [
        (with_attributes(nn.CELU(), alpha="1"), r"1 \(CELU\): alpha must be a number, not str"),
        (with_attributes(nn.Hardtanh(), min_val=None), r"1 \(Hardtanh\): min_val must be a number"),
        (
            with_attributes(nn.Softplus(), threshold=None),
            r"1 \(Softplus\): threshold must be a num",
        ),
    ],
    ids=str,
)
def test_parameters_that_are_no_numbers_are_refused_by_name(leaf, match):
    with pytest.raises(TypeError, match=match):
        pyfq.from_torch(nn.Sequential(nn.Linear(6, 5), leaf))


ENDS = (-np.inf, -1e30, -2.0, -0.5, 0.0, 1e-3, 0.5, 2.0, 1e30, np.inf, np.nan)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", ENDS)
@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (nn.ELU, "alpha"), (nn.CELU, "alpha"), (nn.LeakyReLU, "negative_slope"),
        (nn.Softplus, "beta"), (nn.Softplus, "threshold"), (nn.Hardtanh, "min_val"),
        (nn.Hardtanh, "max_val"), (nn.ReLU6, "min_val"), (nn.ReLU6, "max_val"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("last", [True, False])
def test_any_parameter_is_the_same_or_refused_by_name(kind, name, value, last):
    leaf = with_attributes(kind(), **{name: value})
    ones = [nn.Linear(1, 1, bias=False) for _ in range(2)]
    for one in ones:
        one.weight.data.fill_(1)
    module = nn.Sequential(ones[0], leaf, *([] if last else ones[1:]))
    x = np.array([[-200], [-30], [-2], [-1], [-1e-3], [0], [1e-3], [0.5], [3], [200]], np.float32)
    try:
        network = pyfq.from_torch(module)
    except ValueError as e:
        assert str(e).startswith(f"module 1 ({kind.__name__}): "), e
        return
    want = module(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(network.forward(x), want, rtol=1e-4, atol=1e-5)


def test_slopes_that_differ_are_refused():
    slopes = nn.PReLU(5)
    slopes.weight.data[2] = 0.5
    with pytest.raises(
        ValueError, match=r"1 \(PReLU\): expected one slope for all features, not 5"
    ):
        pyfq.from_torch(nn.Sequential(nn.Linear(6, 5), slopes))


# ---------------------------------------------------------------------------------- at random

DECORATIONS = {
    "pruned": lambda m: prune.random_unstructured(m, "weight", 0.4),
    "pruned bias": lambda m: prune.random_unstructured(m, "bias", 0.4),
    "old weight norm": nn.utils.weight_norm,
    "old spectral norm": nn.utils.spectral_norm,
    "weight norm": parametrizations.weight_norm,
    "spectral norm": parametrizations.spectral_norm,
    "orthogonal": parametrizations.orthogonal,
    "symmetric": lambda m: parametrize.register_parametrization(m, "weight", Symmetric()),
    "noisy": lambda m: parametrize.register_parametrization(m, "weight", Noisy()),
    "hook": lambda m: m.register_forward_hook(twice),
    "pre-hook": lambda m: m.register_forward_pre_hook(twice),
    "backward": lambda m: m.register_full_backward_hook(lambda *_: None),
    "forward": lambda m: setattr(m, "forward", lambda x: -x),
    "remove": lambda m: prune.remove(m, "weight"),
}
LEAVES = [
    nn.ReLU, nn.Tanh, nn.Dropout, nn.Identity, nn.SiLU, nn.GELU, nn.ELU, nn.ReLU6, nn.Hardtanh,
    nn.PReLU, lambda: nn.BatchNorm1d(6),
]  # fmt: skip
BLOCK = st.tuples(
    st.lists(st.sampled_from(sorted(DECORATIONS)), max_size=3),
    st.sampled_from(LEAVES),
    st.lists(st.sampled_from(["hook", "pre-hook", "backward", "forward"]), max_size=1),
    st.booleans(),
)


@given(st.lists(BLOCK, min_size=1, max_size=4), st.booleans(), st.integers(0, 99))
@settings(max_examples=60)
def test_any_module_is_the_same_or_refused_by_name(blocks, trained, seed):
    torch.manual_seed(seed)
    module = nn.Sequential()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for decorations, leaf, others, nested in blocks:
            linear, activation = nn.Linear(6, 6), leaf()
            for word in decorations:
                try:
                    DECORATIONS[word](linear)
                except (AttributeError, KeyError, RuntimeError, TypeError, ValueError):
                    continue  # PyTorch does not combine these
            for word in others:
                DECORATIONS[word](activation)
            pair = (linear, activation)
            module.extend([nn.Sequential(*pair)] if nested else pair)
        try:
            stepped(module) if trained else module(torch.randn(2, 6))
        except (KeyError, RuntimeError, TypeError):
            return  # nor does it run them
        try:
            pyfq.from_torch(module)
        except ValueError as e:
            assert re.match(
                r"module [\d.]+ \((Parametrized)?\w+\): .*(hook|forward|each time)", str(e)
            )
            return
        check_same(module)

"""Arrays that are no layers are refused by name, though all are square and would fit a chain."""

import re

import numpy as np
import pytest

import pyfq


def square(*names):
    """Return float32 arrays under these names; biases have one axis."""
    return {
        name: np.ones(4 if name.endswith("bias") else (4, 4), np.float32) for name in names
    }  # fmt: skip


@pytest.mark.parametrize(
    ("names", "match"),
    [
        ("0.weight_orig 0.weight_mask 2.weight", "0.weight_orig is a tensor before it is pruned"),
        ("w1 w1_mask", "w1_mask is a mask: call torch.nn.utils.prune.remove"),
        ("mask1 w1", "mask1 is a mask"),
        ("0.weight_g 0.weight_v", "0.weight_g is a factor of a normalization"),
        ("0.weight 2.weight_v", "2.weight_v is a factor"),
        ("kernel_g kernel_v", "kernel_g is a factor"),
        ("w_g w_v", "w_g is a factor of a normalization"),
        ("0.weight 2.weight_u", "2.weight_u is a factor"),
        ("0.parametrizations.weight.original0", "is what a parametrization computes a tensor from"),
        ("0.parametrizations.weight.0.base 0.bias", "is what a parametrization"),
        ("0.weight 0.lora_A 0.lora_B", "0.lora_A belongs to an adapter: merge it"),
        ("0.lora_A.default.weight 0.lora_B.default.weight", "belongs to an adapter"),
        ("a.lora_down.weight a.lora_up.weight", "belongs to an adapter"),
        ("a.hada_w1_a a.hada_w1_b", "belongs to an adapter"),
        ("fc.weight fc.adapter.weight", "fc.adapter.weight belongs to an adapter"),
        ("fc1.weight ema.fc1.weight", "ema.fc1.weight is an average of weights that are given too"),
        ("fc1.weight fc1.weight_ema", "fc1.weight_ema is an average"),
        ("model_ema.0.weight model.0.weight", "model_ema.0.weight is an average"),
        ("w1 w2 shadow_w1 shadow_w2", "shadow_w1 is an average"),
        ("n_averaged module.0.weight", "n_averaged is an average"),
        ("q.0.weight q.2.weight target.0.weight target.2.weight", "target.0.weight is a copy"),
        ("q.0.weight q_target.0.weight", "q_target.0.weight is a copy"),
        ("fc.weight fc_old.weight", "fc_old.weight is a copy"),
        ("old.fc.weight fc.weight", "old.fc.weight is a copy"),
        ("student.0.weight teacher.0.weight", "student.0.weight is a copy"),
        ("0.weight 1.running_mean 1.running_var", "1.running_mean belongs to a normalization"),
        ("0.weight 1.num_batches_tracked", "1.num_batches_tracked belongs to a normalization"),
        ("w gamma", "gamma belongs to a normalization"),
        ("fc.weight norm1.weight", "norm1.weight belongs to a normalization"),
        ("fc.weight ln_1.weight", "ln_1.weight belongs to a normalization"),
        ("Dense_0/kernel LayerNorm_0/scale", "LayerNorm_0/scale belongs to a normalization"),
        ("dense/kernel batch_normalization/moving_variance", "belongs to a normalization"),
        ("0.weight 0.weight_scale", "0.weight_scale belongs to quantized weights"),
        ("0.weight 0.weight_zero_point", "belongs to quantized weights"),
        ("0.weight 0.weight_scale_inv", "belongs to quantized weights"),
        ("0.weight 0.input_scale", "0.input_scale belongs to quantized weights"),
        ("0.qweight 0.qzeros 0.scales 0.g_idx", "0.qweight belongs to quantized weights"),
        ("0.weight_packed 0.weight_shape", "0.weight_packed belongs to quantized weights"),
        ("0.weight 0.weight.absmax", "0.weight.absmax belongs to quantized weights"),
        ("0.weight 0.SCB", "0.SCB belongs to quantized weights"),
        ("embedding.weight fc.weight", "embedding.weight belongs to an embedding"),
        ("model.embed_tokens.weight lm_head.weight", "belongs to an embedding"),
        ("wte.weight fc.weight", "wte.weight belongs to an embedding"),
        ("Embed_0/embedding Dense_0/kernel", "belongs to an embedding"),
        ("pos_embed fc", "pos_embed belongs to an embedding"),
        ("weight_ih_l0 weight_hh_l0", "weight_ih_l0 belongs to a recurrent layer"),
        ("q_proj.weight k_proj.weight v_proj.weight", "q_proj.weight belongs to attention"),
        ("query.weight key.weight value.weight", "query.weight belongs to attention"),
        ("in_proj_weight out_proj.weight", "in_proj_weight belongs to attention"),
        ("gate_proj.weight up_proj.weight", "gate_proj.weight belongs to a gate"),
        ("w exp_avg exp_avg_sq", "exp_avg belongs to an optimizer"),
        ("fc.weight fc.weight/Adam", "fc.weight/Adam belongs to an optimizer"),
        ("fc.weight fc.weight.momentum", "fc.weight.momentum belongs to an optimizer"),
        ("params.w mu.w nu.w", "mu.w belongs to an optimizer"),
        ("fc.weight fc.mask_weight", "fc.mask_weight is a mask"),
        ("fc1.weight masks.fc1", "masks.fc1 is a mask"),
        ("fc.weight mask.fc.weight", "mask.fc.weight is a mask"),
        ("fc.weight fc.weightMask", "fc.weightMask is a mask"),
        ("fc.weight fc.weight.mask_", "fc.weight.mask_ is a mask"),
        ("q_lin.weight k_lin.weight v_lin.weight", "q_lin.weight belongs to attention"),
        ("q.weight k.weight v.weight", "q.weight belongs to attention"),
        ("wq.weight wk.weight wv.weight", "wq.weight belongs to attention"),
        ("to_keys.weight to_values.weight", "to_keys.weight belongs to attention"),
        ("kernel recurrent_kernel", "recurrent_kernel belongs to a recurrent layer"),
        ("Wz Uz", "Wz belongs to a recurrent layer"),
        ("fc.g fc.v", "fc.g is a factor"),
        ("fc.A.weight fc.B.weight", "fc.A.weight is a factor"),
        ("positional_encoding fc", "positional_encoding belongs to an embedding"),
        ("pos_table fc", "pos_table belongs to an embedding"),
        ("fc.weight pe", "pe belongs to an embedding"),
        ("fc.weight fc.codebook", "fc.codebook belongs to an embedding"),
        ("fc_mu.weight fc_logvar.weight", "fc_logvar.weight belongs to a distribution"),
        ("fc.weight_mu fc.weight_sigma", "fc.weight_sigma belongs to a distribution"),
        ("experts.0.weight experts.1.weight", "experts.0.weight belongs to a branch"),
        ("ensemble.0.fc.weight ensemble.1.fc.weight", "belongs to a branch"),
        ("body.weight head1.weight head2.weight", "head1.weight belongs to a branch"),
        ("fc.weight shortcut.weight", "shortcut.weight belongs to a branch"),
        ("fc.weight downsample.0.weight", "downsample.0.weight belongs to a branch"),
        (
            "fc.weight gate.weight",
            "gate.weight belongs to a gate, which is no layer of a chain: pass the arrays",
        ),
        ("fc.weight fc.delta", "fc.delta is not named as fc.weight is: pass the arrays of the lay"),
        ("fc.weight fc.weight_mean", "fc.weight_mean is not named as fc.weight is"),
        ("fc.weight fc.weight0", "fc.weight0 belongs to the layer of fc.weight"),
        ("fc.weight fc.down.weight fc.up.weight", "fc.down.weight is in the layer of fc.weight"),
        ("fast.fc.weight slow.fc.weight", "slow.fc.weight is the same layer as fast.fc.weight"),
        ("fc.weight prev.fc.weight", "prev.fc.weight is the same layer as fc.weight"),
        ("encoder_q.0.weight encoder_k.0.weight", "belongs to attention"),
        ("momentum_encoder.0.weight encoder.0.weight", "encoder.0.weight is the same layer as mom"),
        ("fc.weight fc_frozen.weight", "fc_frozen.weight is the same layer as fc.weight"),
        ("w w_init", "w_init is not named as w is"),
        ("fc.weight_shard0 fc.weight_shard1", "fc.weight_shard0 is one part of weights: join them"),
        ("enc.weight fc_mean.weight fc_std.weight", "fc_mean.weight belongs to a distribution of"),
        ("query.weight value.weight", "query.weight belongs to attention"),
        ("key.weight value.weight", "key.weight belongs to attention"),
        ("wq wv", "wq belongs to attention"),
        ("att.q.weight att.v.weight", "att.q.weight belongs to attention"),
        (
            "q1.0.weight q1.2.weight q2.0.weight q2.2.weight",
            "q2.0.weight is the same layer as q1.0.weight: pass the arrays of the layers alone",
        ),
        ("Q1.fc.weight Q2.fc.weight", "Q2.fc.weight is the same layer as Q1.fc.weight"),
        ("qf_1.0.weight qf_1.2.weight qf_2.0.weight qf_2.2.weight", "is the same layer as qf_1.0"),
        ("critic1.l1.weight critic2.l1.weight", "critic2.l1.weight is the same layer as critic1"),
        ("critics.0.fc.weight critics.1.fc.weight", "critics.1.fc.weight is the same layer as"),
        ("net1.0.weight net1.2.weight net2.0.weight net2.2.weight", "is the same layer as net1.0"),
        ("a.model_1.x.w a.model_1.y.w a.model_2.x.w a.model_2.y.w", "is the same layer as a.model"),
        ("0.base_weight 0.spline_weight", "0.base_weight is one of two products that a layer adds"),
    ],
)
def test_names_of_what_is_no_layer_are_refused(names, match):
    arrays = square(*names.split())
    with pytest.raises(ValueError, match=match.replace(".", r"\.")) as raised:
        pyfq.from_arrays(arrays)
    assert "pass the arrays of the layers alone, as a list in their order" in str(raised.value) or (
        "give layers in their order" in str(raised.value)
    )


@pytest.mark.parametrize(
    "names",
    [
        "fc1.weight fc1.bias fc2.weight fc2.bias",
        "encoder.0.weight encoder.2.weight decoder.0.weight decoder.2.weight",
        "time_embed.0.weight time_embed.2.weight",
        "ema.0.weight ema.0.bias ema.2.weight",
        "teacher.0.weight teacher.2.weight",
        "fc.weight target.weight",
        "hidden.weight value.weight",
        "up_proj.weight down_proj.weight",
        "layers.0.weight layers.1.weight",
        "normal.weight masked.weight flora.weight explore.weight",
        "V.weight U.weight",
        "layer_a.weight layer_b.weight layer_c.weight",
        "shared.weight base.weight mean_field.weight",
        "trunk.0.weight trunk.2.weight head.weight",
        "input_layer.linear.weight hidden.linear.weight output.linear.weight",
        "blocks.0.fc1.weight blocks.0.fc2.weight blocks.1.fc1.weight blocks.1.fc2.weight",
        "fc.weight fc_out.weight",
        "block1.0.weight block1.2.weight block2.0.weight block2.2.weight",
        "net.0.0.weight net.0.2.weight net.1.0.weight net.1.2.weight",
        "lin1.linear.weight lin2.linear.weight",
        "mlp1.fc1.weight mlp1.fc2.weight mlp2.fc1.weight mlp2.fc2.weight",
        "q.0.weight q.2.weight",
        "critic.l1.weight critic.l2.weight",
        "WEIGHT1 WEIGHT2",
        "fc1_weight fc1_bias fc2_weight fc2_bias",
        "W1 W2 W3",
        "w1.weight w2.weight w3.weight",
        "arr_0 arr_1",
    ],
)
def test_names_of_layers_are_taken(names):
    arrays = square(*names.split())
    layers = sum(x.ndim == 2 for x in arrays.values())
    assert len(pyfq.from_arrays(arrays).layers) == layers


@pytest.mark.parametrize(
    "name",
    ["fc.activation_post_process.min_val", "x_mean", "fc.alpha", "fc.beta", "beta", "fc.out_scale"],
)
def test_one_axis_alone_makes_no_bias(name):
    arrays = square("fc.weight") | {name: np.ones(4, np.float32)}
    with pytest.raises(ValueError, match=name):
        pyfq.from_arrays(arrays)
    network = pyfq.from_arrays(list(arrays.values()))  # as a list they are what they are given as
    assert network.layers[0].bias is not None


@pytest.mark.parametrize(
    ("weights", "bias"),
    [
        ("fc.w", "fc.b"),
        ("W1", "b1"),
        ("fc1_coef", "fc1_intercept"),
        ("weights_1", "biases_1"),
        ("fc", "fc_b"),
        ("dense/weight:0", "dense/bias:0"),
        ("dense/kernel:0", "dense/bias:0"),
        ("fc1_kernel", "fc1_bias"),
        ("coefs_0", "intercepts_0"),
    ],
)
def test_biases_are_named_by_their_weights(weights, bias):
    arrays = {weights: np.ones((4, 3), np.float32), bias: np.ones(4, np.float32)}
    assert pyfq.from_arrays(arrays).layers[0].bias is not None


def test_a_name_is_refused_before_its_dtype():
    arrays = square("w") | {"w_mask": np.ones((4, 4), bool)}
    with pytest.raises(ValueError, match="w_mask is a mask"):
        pyfq.from_arrays(arrays)


def test_normalizations_without_a_name_have_one_axis():
    arrays = square("0.weight", "0.bias", "1.bias") | {"1.weight": np.ones(4, np.float32)}
    with pytest.raises(ValueError, match=r"1\.weight .*: one axis is what factors of a normal"):
        pyfq.from_arrays(arrays)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["fc.weight", "fc.bias", "input_mean", "output_scale"])
def test_what_is_not_finite_is_refused(name, bad):
    ends = {
        f"{side}_{what}": np.ones(4, np.float32)
        for side in ("input", "output")
        for what in ("mean", "scale")
    }
    arrays = square("fc.weight", "fc.bias") | ends
    arrays[name][-1] = bad
    with pytest.raises(ValueError, match="must be finite"):
        pyfq.from_arrays(arrays)


def test_state_dicts_that_pytorch_writes_are_refused():
    torch = pytest.importorskip("torch", reason="needs the oracles extra")
    from torch.nn.utils import parametrizations, prune

    nn = torch.nn
    for change in (
        lambda layer: prune.l1_unstructured(layer, "weight", 0.5),
        nn.utils.spectral_norm,
        parametrizations.weight_norm,
        parametrizations.spectral_norm,
        parametrizations.orthogonal,
    ):
        module = nn.Sequential(nn.Linear(4, 4, bias=False), nn.ReLU(), nn.Linear(4, 4))
        change(module[0])
        arrays = {name: x.detach().numpy() for name, x in module.state_dict().items()}
        with pytest.raises(ValueError, match=r"^0\."):
            pyfq.from_arrays(arrays)
        pyfq.from_torch(module)


def test_tensors_and_modules_are_refused_with_what_takes_them():
    torch = pytest.importorskip("torch", reason="needs the oracles extra")
    module = torch.nn.Sequential(torch.nn.Linear(4, 4))
    for arrays, match in (
        (module.state_dict(), r"0\.weight must be a NumPy array, not torch\.Tensor: pass .*numpy"),
        (list(module.parameters()), r"arrays\[0\] must be .*, not torch\.Parameter: pass .*numpy"),
        (square("w") | {"input_mean": torch.ones(4)}, r"input_mean must be .*numpy\(\)"),
        (module, "not Sequential: from_torch takes a module"),
    ):
        with pytest.raises(TypeError, match=match):
            pyfq.from_arrays(arrays)


@pytest.mark.parametrize("x", [np.ones((2, 3), np.float32).T, np.ones((3, 2), np.float16)])
def test_the_call_that_converts_an_array_runs_as_it_stands(x):
    arrays = {"fc1.weight": x}
    with pytest.raises((TypeError, ValueError), match="pass np") as caught:
        pyfq.from_arrays(arrays)
    converted = eval(str(caught.value).partition(": pass ")[2], {"np": np, "arrays": arrays})
    assert pyfq.from_arrays({"fc1.weight": converted}).sizes == (2, 3)


def test_activations_are_refused_by_name_also_where_no_layer_has_them():
    for arrays in ([np.eye(2)], [np.eye(2), np.eye(2)]):
        with pytest.raises(ValueError, match=r"^activation must be None, .*'rleu'$"):
            pyfq.from_arrays(arrays, activation="rleu")
        with pytest.raises(ValueError, match=r"^output_activation must be None, .*'rleu'$"):
            pyfq.from_arrays(arrays, output_activation="rleu")


IN_OUT = [
    ("dense/kernel:0", "dense_1/kernel:0"),
    ("params/Dense_0/kernel", "params/Dense_1/kernel"),
    ("Dense_0.kernel", "Dense_1.kernel"),
    ("fc1_kernel", "fc2_kernel"),
    ("mlp/~/linear_0/w", "mlp/~/linear_1/w"),
    ("fc1/weights:0", "fc2/weights:0"),
    ("coefs_0", "coefs_1"),
    ("fc1.weight_T", "fc2.weight_T"),
    ("fc1.weight.T", "fc2.weight.T"),
    ("fc1.weight_t", "fc2.weight_t"),
    ("fc1.weightT", "fc2.weightT"),
    ("fc1_weight_transposed", "fc2_weight_transposed"),
    ("W1T", "W2T"),
    ("w1_T", "w2_T"),
]


def _bias_of(weights):
    name = re.sub(r"[._]?(T|t|transposed)$", "", weights)
    return re.sub("kernel|[Ww](eights?)?|coefs", "bias", name)


@pytest.mark.parametrize("names", IN_OUT)
@pytest.mark.parametrize("shapes", [((4, 4), (4, 4)), ((3, 4), (4, 5)), ((4, 4), (4, 2))])
def test_kernels_are_refused_if_they_may_be_transposed(names, shapes):
    """Keras and Flax compute ``x @ kernel``: as layers, square ones would be their transposes."""
    rng = np.random.default_rng(0)
    kernels = [rng.standard_normal(shape) for shape in shapes]
    biases = [rng.standard_normal(shape[1]) for shape in shapes]
    for arrays in (
        dict(zip(names, kernels, strict=True)),
        {names[0]: kernels[0]},
        {names[0]: kernels[0], _bias_of(names[0]): biases[0]},
    ):
        with pytest.raises(ValueError, match=r"named as .*: pass np\.ascontiguousarray\(w\.T\)"):
            pyfq.from_arrays(arrays)
    x = rng.standard_normal((2, shapes[0][0]))
    turned = [np.ascontiguousarray(w.T) for w in kernels]
    network = pyfq.from_arrays([turned[0], biases[0], turned[1], biases[1]])
    want = np.maximum(x @ kernels[0] + biases[0], 0) @ kernels[1] + biases[1]
    np.testing.assert_allclose(network.forward(x), want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("names", IN_OUT)
def test_kernels_whose_shapes_tell_that_they_are_transposed_are_taken(names):
    arrays = {names[0]: np.ones((4, 3)), names[1]: np.ones((2, 4))}
    assert pyfq.from_arrays(arrays).sizes == (3, 4, 2)


def test_weights_of_an_mlp_of_sklearn_are_told_from_those_of_layers():
    arrays = {"coefs_0": np.ones((3, 4)), "intercepts_0": np.ones(4)}
    with pytest.raises(ValueError, match="coefs_0 is named as weights of shape"):
        pyfq.from_arrays(arrays)
    arrays["coefs_0"] = np.ones((4, 3))
    assert pyfq.from_arrays(arrays).sizes == (3, 4)

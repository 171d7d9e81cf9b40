"""Recipes applied to the layers of a network in memory."""

from dataclasses import replace

import numpy as np

from pyfq._core.check import shown
from pyfq.arrays.half import FORMATS, Half
from pyfq.exchange.methods.coded import Coded
from pyfq.exchange.rule import Rule
from pyfq.exchange.stored import TensorPlan, declare
from pyfq.io.dtypes import word_of
from pyfq.networks.foreign import as_network
from pyfq.networks.network import Network
from pyfq.recipes.choose import choose_bits, refuse_budget
from pyfq.recipes.declare import naming, open_rules, why_no_gain
from pyfq.recipes.make import make, prune
from pyfq.recipes.measure import code, measure
from pyfq.recipes.recipe import Recipe


def compress_network(network: Network, recipe: Recipe) -> Network:
    """Return the network with the weights of its layers as a recipe says.

    Weights are called ``layers.0.weight``, ``layers.1.weight`` and so on. They become what
    `pyfq.quantize`, `pyfq.quantize_codebook`, `pyfq.quantize_rate`, `pyfq.svd_lowrank` and
    `pyfq.to_half` return, or pruned arrays; those that no rule matches stay, and so do biases.

    Parameters
    ----------
    network : Network
        The network. Weights that a rule matches are arrays.
    recipe : Recipe
        What is to be done.

    Returns
    -------
    Network
        The network, which computes with the compressed weights.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If weights cannot be compressed as asked; the message names them and the reason. Layers of
        a network have no residual, no factors of 2 bytes, and one dtype otherwise.

    Examples
    --------
    >>> from pyfq import Network
    >>> from pyfq.recipes import Factorize, Quantize, Rule
    >>> recipe = Recipe(
    ...     (
    ...         Rule(("layers.0.*",), lowrank=Factorize(ratio=0.25)),
    ...         Rule(("*",), quantize=Quantize(8)),
    ...     )
    ... )
    >>> small = compress_network(Network.create((64, 32, 10)), recipe)
    >>> [type(layer.weights).__name__ for layer in small.layers]
    ['LowRank', 'Quantized']
    """
    as_network(network)
    if not isinstance(recipe, Recipe):
        raise TypeError(f"recipe must be a Recipe, not {type(recipe).__name__}")
    weights = {f"layers.{i}.weight": layer.weights for i, layer in enumerate(network.layers)}
    words = {name: word_of(w.dtype) for name, w in weights.items() if isinstance(w, np.ndarray)}
    for name, w in weights.items():
        rule = recipe.rule_for(name, words.get(name, "F32"), w.shape)
        with naming(name):
            if rule is not None and not rule.copies and name not in words:
                raise ValueError(f"weights must be an array, not {type(w).__name__}")
            if rule is not None and rule.precision is not None:
                _refuse_precision(rule)
    shapes = {name: weights[name].shape for name in words}
    refuse_budget(words, shapes, recipe)
    findings = {
        name: measure(name, words[name], weights[name], rule, recipe.budget)
        for name, rule in open_rules(words, shapes, recipe).items()
    }

    def coded(name: str, rule: Rule, sampled: bool) -> Coded:
        return code(name, words[name], weights[name], rule, sampled=sampled)

    decided = choose_bits(words, shapes, recipe, findings, coded)
    layers = list(network.layers)
    for name, word in words.items():
        rule, w = decided.get(name) or recipe.rule_for(name, word, shapes[name]), weights[name]
        if rule is None or rule.copies:
            continue
        i = int(name.split(".")[1])
        with naming(name):
            tensor = declare(name, word, w.shape, rule)
            _refuse_rank(tensor)
            v = w if rule.prune is None else prune(w, w.shape, rule.prune)
            made = make(v, tensor)
            if rule.precision is not None:
                made = Half(made.view(np.uint16), rule.precision)
            layers[i] = replace(layers[i], weights=made)
    return replace(network, layers=tuple(layers))


def _refuse_rank(tensor: TensorPlan) -> None:
    """Refuse factors that save nothing; codes are kept, whatever they take in a file."""
    if tensor.rule.lowrank is not None:
        reason = why_no_gain(tensor)
        if reason is not None:
            raise ValueError(f"lowrank: {reason}")


def _refuse_precision(rule: Rule) -> None:
    if rule.precision not in FORMATS:
        raise ValueError(f"precision {shown(rule.precision)} is of files: a network has one dtype")
    if rule.lowrank is not None:
        raise ValueError(
            f"precision {shown(rule.precision)} of lowrank is of files, not of networks"
        )

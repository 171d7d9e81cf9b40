"""The recipe that the options of ``pyfq compress`` ask for."""

import argparse
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from pyfq._core.grid import PerGroup, PerRow, PerTensor
from pyfq.arrays.quantize import ROUNDINGS, SCHEMES
from pyfq.cli import UsageError
from pyfq.cli._parser import path_of
from pyfq.exchange.methods.codebook import CODEBOOK_GROUPS
from pyfq.exchange.methods.prune import parse_nm
from pyfq.exchange.methods.quantize import GROUPS, fitting_of
from pyfq.exchange.methods.rate import NO_TRELLIS
from pyfq.exchange.methods.tables import BUDGET, placed
from pyfq.recipes import (
    Budget,
    Factorize,
    Lossless,
    Prune,
    Quantize,
    QuantizeCodebook,
    QuantizeRate,
    Recipe,
    Rule,
    read_recipe,
)
from pyfq.recipes.recipe import CHOICES

#: Tensors of fewer entries are copied, unless a recipe says otherwise.
MIN_SIZE = 4096

_ROUNDED = ("rtn", "mse", "als", "percentile", "aciq", "hqq")
_CODES = ("--bits", "--scheme", "--group-size", "--per-row", "--per-tensor", "--rounding", "--seed")
_SHARES = ("--group-size", "--per-row", "--per-tensor")
_TABLE = (*_SHARES, "--calibration", "--scale-bits")
_GOALS = ("--target-bits", "--target-size")
_TARGET = (*_GOALS, "--choices")
_FINENESS = ("--bits", "--step", "--sqnr")
_RANKS = ("--rank", "--rank-ratio", "--rank-energy", "--rank-tolerance")
_FACTORS = (*_RANKS, "--svd")

_PRUNERS = ("--prune-ratio", "--prune-percentile", "--prune-threshold", "--prune-nm")

# Options that codes of the same width have as well.
_OF_CODES = ("--bits", "--per-row", "--per-tensor")

# The options that each method has a use for.
_OPTIONS: dict[str, Sequence[str]] = {
    **dict.fromkeys(_ROUNDED, (*_CODES, *_TARGET)),
    "percentile": (*_CODES, "--percentile", *_TARGET),
    "nf4": _TABLE,
    "fp4": _TABLE,
    "log2": ("--bits", *_TABLE, *_TARGET),
    "lloyd": ("--bits", *_TABLE, "--seed", *_TARGET),
    "rate": (*_FINENESS, "--trellis", "--per-row", "--per-tensor", *_GOALS),
    "lowrank": (*_FACTORS, *_CODES),
    "bfloat16": (),
    "float16": (),
    "lossless": (),
}

#: Which of the methods is best for the other options, `chosen` says.
AUTO = "auto"

METHODS = (AUTO, *_OPTIONS)


# Options of codes whose scales are of least error, and what they are.
_OF_LEAST = ("--bits", "--scheme", *_SHARES, *_TARGET)
_LEAST = "with scales of least squared error"


class Chosen(NamedTuple):
    """What ``--method auto`` stands for.

    Attributes
    ----------
    method : str or None
        One of the others; None where tensors are only pruned.
    groups : PerGroup
        What shares a scale of rounded codes, unless that is said.
    why : str
        The reason, in a few words.
    """

    method: str | None
    groups: PerGroup
    why: str


def add_method_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what becomes of which tensor."""
    parser.add_argument(
        "--method",
        choices=METHODS,
        metavar="NAME",
        help=f"what tensors become: {', '.join(METHODS)} (default: auto, which takes the best "
        "known method for the other options and says which)",
    )
    _add_quantization(parser)
    _add_scales_of_tables(parser)
    _add_rate(parser)
    _add_budget(parser)
    _add_lowrank(parser)
    _add_pruning(parser)
    _add_selection(parser)


def _add_quantization(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("quantization of tensors, or of factors of low rank")
    group.add_argument(
        "--bits",
        metavar="N",
        type=_number,
        help="bits of a code, 1 ... 16 (default: 8; with --method log2 or lloyd 4); with --method "
        "rate bits a weight, such as 2.5 (default: 4)",
    )
    group.add_argument(
        "--scheme",
        choices=SCHEMES,
        help="where the codes lie (default: symmetric; for --method hqq and for 1 bit minmax)",
    )
    share = group.add_mutually_exclusive_group()
    share.add_argument(
        "--group-size",
        metavar="N",
        type=int,
        help="one scale for N consecutive entries of a row; the last group may have fewer "
        "(default: 128; for tables 64)",
    )
    share.add_argument(
        "--per-row", action="store_true", help="one scale, or one fitted table, for each row"
    )
    share.add_argument(
        "--per-tensor",
        action="store_true",
        help="one scale, or one fitted table, for the whole tensor",
    )
    group.add_argument("--rounding", choices=ROUNDINGS, help="(default: half_even)")
    group.add_argument(
        "--percentile",
        metavar="P",
        type=float,
        help="for --method percentile: the percentage of a group that the codes reach (default: "
        "99.9, which is all entries of groups with fewer than 1000)",
    )
    group.add_argument("--seed", metavar="N", type=int, help="seed of the random numbers")


def _add_scales_of_tables(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("scales of tables: nf4, fp4, log2, lloyd")
    group.add_argument(
        "--calibration",
        metavar="NAME",
        help="how a scale is found: absmax, from the largest magnitude, or mse, by least squared "
        "error (default: absmax); for rounded codes --method says it",
    )
    group.add_argument(
        "--scale-bits",
        metavar="N",
        type=int,
        help="store scales as codes of N bits (default: as floats)",
    )


def _add_rate(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("entropy-coded weights: rate")
    group.add_argument(
        "--step", metavar="D", type=float, help="distance between codes; in place of --bits"
    )
    group.add_argument(
        "--sqnr", metavar="DB", type=float, help="signal-to-noise ratio in dB; in place of --bits"
    )
    group.add_argument(
        "--trellis",
        choices=("8", "4", NO_TRELLIS),
        help="states of the trellis of trellis-coded quantization (default: 8; for pruned "
        "weights none)",
    )


def _add_budget(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("bits of each tensor by a budget")
    goals = group.add_mutually_exclusive_group()
    goals.add_argument(
        "--target-bits",
        metavar="B",
        type=float,
        help="bits a weight on average, scales counted: the bits of each tensor are chosen for the "
        "least error; in place of --bits; --method is rate unless another is given",
    )
    goals.add_argument(
        "--target-size",
        metavar="SIZE",
        type=_size,
        help="the same for a size of the written files of weights: 8MB, 7.5MiB, 8000000; headers "
        "and copied tensors are counted",
    )
    group.add_argument(
        "--choices",
        metavar="N,N,...",
        help=f"bits to choose from (default: {','.join(map(str, CHOICES))}; for tables those up "
        "to 8)",
    )


def _add_lowrank(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("low rank")
    ranks = group.add_mutually_exclusive_group()
    ranks.add_argument("--rank", metavar="N", type=int, help="columns of the first factor")
    ranks.add_argument(
        "--rank-ratio",
        metavar="R",
        type=float,
        help="entries of both factors over entries of the tensor (default: 0.5)",
    )
    ranks.add_argument(
        "--rank-energy",
        metavar="E",
        type=float,
        help="fraction of the squared singular values to keep, 0 ... 1",
    )
    ranks.add_argument(
        "--rank-tolerance", metavar="T", type=float, help="largest relative error, 0 ... 1"
    )
    group.add_argument(
        "--svd",
        choices=("exact", "randomized"),
        help="how factors are found (default: exact); for 23 million weights randomized took 12 s, "
        "a quarter of the time of exact, and lost less than 0.1 dB",
    )


def _add_pruning(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("pruning").add_mutually_exclusive_group()
    group.add_argument(
        "--prune-ratio", metavar="R", type=float, help="zero this fraction of the weights, 0 ... 1"
    )
    group.add_argument(
        "--prune-percentile",
        metavar="P",
        type=float,
        help="zero weights below this percentile of the magnitudes, 0 ... 100",
    )
    group.add_argument(
        "--prune-threshold", metavar="T", type=float, help="zero weights with magnitudes below T"
    )
    group.add_argument("--prune-nm", metavar="N:M", help="keep the N largest of every M, as 2:4")


def _add_selection(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("which tensors")
    group.add_argument(
        "--min-size",
        metavar="N",
        type=int,
        default=MIN_SIZE,
        help=f"entries of a tensor at least ({MIN_SIZE}); small networks want 1",
    )
    group.add_argument(
        "--include",
        metavar="GLOB",
        action="append",
        default=[],
        help="only tensors with such a name; repeatable",
    )
    group.add_argument(
        "--exclude",
        metavar="GLOB",
        action="append",
        default=[],
        help="no tensors with such a name; repeatable",
    )
    group.add_argument(
        "--recipe", metavar="FILE", type=path_of, help="TOML rules instead of all the above"
    )


def recipe_of(args: argparse.Namespace) -> Recipe:
    """Return the recipe that the arguments ask for: a file's, or one rule made of the options."""
    given = given_options(args)
    pruner = next((option for option in _PRUNERS if _is_given(args, option)), None)
    if args.recipe is not None:
        if given or args.method or pruner or args.include or args.exclude:
            raise UsageError("--recipe says it all: leave out the other options for tensors")
        return read_recipe(args.recipe)
    method, groups = args.method, GROUPS
    if method in (None, AUTO):
        method, groups, _ = chosen(args)
    _refuse_useless(args, method, given)
    match = tuple(args.include) or ("*",)
    try:
        prune = None
        if pruner is not None:
            by, amount = pruner.removeprefix("--prune-"), _value_of(args, pruner)
            prune = Prune(by, parse_nm(amount) if by == "nm" else amount)
        pruned = prune is not None
        methods = {}
        if method is not None:
            methods = _methods_of(args, method, given, groups, pruned=pruned)
        min_ndim = 0 if method == "lossless" and not pruned else 2
        rule = Rule(match, prune, min_ndim=min_ndim, min_size=args.min_size, **methods)
        rules = (Rule(tuple(args.exclude)), rule) if args.exclude else (rule,)
        return Recipe(rules, _budget_of(args))
    except (TypeError, ValueError) as e:
        raise UsageError(str(e)) from e


def given_options(args: argparse.Namespace) -> list[str]:
    """Return the options of methods that are given."""
    options = (*_CODES, "--percentile", "--calibration", "--scale-bits", *_TARGET, *_FACTORS)
    options += ("--step", "--sqnr", "--trellis")
    return [option for option in options if _is_given(args, option)]


def chosen(args: argparse.Namespace) -> Chosen:
    """Return the method that loses least of those that the other options go with.

    A budget, or any number of bits, leaves entropy-coded weights the most. Where bits of a code are
    asked for, or what only rounded codes have, they are rounded codes, which other tools open too:
    of few bits with scales of least squared error, in smaller groups.
    """
    given = given_options(args)
    if any(option in _RANKS for option in given):
        return Chosen("lowrank", GROUPS, "a rank is asked for")
    if _is_of_rate(args, given):
        return Chosen("rate", GROUPS, "entropy-coded weights lose least at any bits a weight")
    if not given and any(_is_given(args, option) for option in _PRUNERS):
        return Chosen(None, GROUPS, "")
    if not all(option in _OF_LEAST for option in given):
        return Chosen("rtn", GROUPS, "the other options are of codes that are rounded")
    if _has_goal(args):
        return Chosen("als", GROUPS, f"codes of whole bits, {_LEAST}")
    groups, calibration = fitting_of(8 if args.bits is None else args.bits)
    if calibration == "als":
        return Chosen("als", groups, f"few bits, {_LEAST}")
    return Chosen("rtn", groups, "codes of 8 bits lose next to nothing, and other tools open them")


def auto_line(args: argparse.Namespace) -> str:
    """Return which method was chosen and why; "" if it was not left open."""
    if args.method not in (None, AUTO) or args.recipe is not None:
        return ""
    method, _, why = chosen(args)
    return "" if method is None else f"--method auto is {method}: {why}"


def _is_of_rate(args: argparse.Namespace, given: Sequence[str]) -> bool:
    """Return whether options without a method are of entropy-coded weights."""
    own = any(option in _OPTIONS["rate"] and option not in _OF_CODES for option in given)
    if "--bits" in given:
        own = isinstance(args.bits, float)
    return own and all(option in _OPTIONS["rate"] for option in given)


def _number(word: str) -> int | float:
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    raise argparse.ArgumentTypeError(f"expected a number, not {word!r}")


def _size(word: str) -> int:
    """Return the bytes of a number with a unit, or none.

    Examples
    --------
    >>> _size("8MB"), _size("7.5 MiB"), _size("8000000")
    (8000000, 7864320, 8000000)
    """
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]*)?) ?([kKMG]?)(i?)(B?)", word.strip())
    if found is None or (found[3] and not found[2]):
        raise argparse.ArgumentTypeError(f"expected bytes as 8MB, 7.5MiB or 8000000, not {word!r}")
    size = float(found[1]) * (1024 if found[3] else 1000) ** " KMG".index(found[2].upper() or " ")
    if not 1 <= size <= sys.maxsize:
        raise argparse.ArgumentTypeError(f"expected 1 ... {sys.maxsize} bytes, not {word[:40]!r}")
    return int(size)


def _value_of(args: argparse.Namespace, option: str) -> Any:
    return getattr(args, option[2:].replace("-", "_"))


def _is_given(args: argparse.Namespace, option: str) -> bool:
    value = _value_of(args, option)
    return value is not None and value is not False


def _refuse_useless(args: argparse.Namespace, method: str | None, given: Sequence[str]) -> None:
    calibration = args.calibration
    for option in given:
        if option not in _OPTIONS[method]:
            able = [name for name, options in _OPTIONS.items() if option in options]
            message = f"{option} goes with --method {', '.join(able)}, not {method}"
            if option == "--svd":
                message += f"; {', '.join(_RANKS)} choose lowrank, too"
            if option == "--calibration" and method in _ROUNDED and calibration in _ROUNDED:
                message += f": of codes --method {calibration} says it"
            raise UsageError(message)
    if isinstance(args.bits, float) and method != "rate":
        raise UsageError(f"--bits must be an integer but for --method rate, not {args.bits}")
    goal = next((option for option in _GOALS if option in given), None)
    if "--choices" in given and goal is None:
        raise UsageError("--choices goes with --target-bits or --target-size")
    fineness = [option for option in _FINENESS if option in given]
    if fineness and goal is not None:
        raise UsageError(f"{goal} chooses the bits of each tensor: leave out {fineness[0]}")
    if len(fineness) > 1:
        raise UsageError(f"{fineness[0]} and {fineness[1]} say the same: leave out one")


def _methods_of(
    args: argparse.Namespace, method: str, given: Sequence[str], groups: PerGroup, *, pruned: bool
) -> dict[str, Any]:
    """Return what a rule does, by key."""
    if method in ("bfloat16", "float16"):
        return {"precision": method}
    if method == "lossless":
        return {"lossless": Lossless()}
    if method == "lowrank":
        lowrank = {"lowrank": _factorize(args)}
        quantizes = any(option in _CODES and option != "--seed" for option in given)
        return lowrank | ({"quantize": _quantize(args, "rtn", GROUPS)} if quantizes else {})
    if method == "rate":
        return {"rate": _rate(args, pruned=pruned)}
    if method in _ROUNDED:
        return {"quantize": _quantize(args, method, groups)}
    bits = BUDGET if _has_goal(args) else args.bits
    seed = 0 if args.seed is None else args.seed
    codebook = QuantizeCodebook(
        method,
        bits,
        _share(args, CODEBOOK_GROUPS),
        seed=seed,
        calibration=args.calibration or "absmax",
        scale_bits=args.scale_bits,
    )
    return {"codebook": codebook}


def _has_goal(args: argparse.Namespace) -> bool:
    return args.target_bits is not None or args.target_size is not None


def _rate(args: argparse.Namespace, *, pruned: bool) -> QuantizeRate:
    bits = args.bits
    if _has_goal(args):
        bits = BUDGET
    elif args.step is None and args.sqnr is None and bits is None:
        bits = 4
    trellis = args.trellis or (NO_TRELLIS if pruned else "8")
    return QuantizeRate(
        bits,
        args.step,
        args.sqnr,
        None if trellis == NO_TRELLIS else int(trellis),
        PerRow() if args.per_row else PerTensor(),
    )


def _quantize(args: argparse.Namespace, method: str, groups: PerGroup) -> Quantize:
    bits = 8 if args.bits is None else args.bits
    of_svd = args.svd == "randomized" and args.rounding != "stochastic"
    if bits == 1 and args.scheme == "symmetric" and not _has_goal(args):
        raise UsageError("--scheme symmetric has no positive code of --bits 1: leave out --scheme")
    return Quantize(
        BUDGET if _has_goal(args) else bits,
        args.scheme or ("minmax" if method == "hqq" or bits == 1 else "symmetric"),
        _share(args, groups),
        args.rounding or "half_even",
        seed=None if of_svd else args.seed,
        calibration="minmax" if method == "rtn" else method,
        percentile=args.percentile,
    )


def _factorize(args: argparse.Namespace) -> Factorize:
    asked = (args.rank, args.rank_ratio, args.rank_energy, args.rank_tolerance)
    if all(x is None for x in asked):
        asked = (None, 0.5, None, None)
    svd = args.svd or "exact"
    if args.seed is not None and svd == "exact" and args.rounding != "stochastic":
        raise UsageError("--seed goes with --svd randomized or --rounding stochastic")
    seed = (args.seed or 0) if svd == "randomized" else 0
    given = next(option for option, x in zip(_RANKS, asked, strict=False) if x is not None)
    with placed(given):
        factorize = Factorize(*asked)
    return replace(factorize, method=svd, seed=seed)


def _share(args: argparse.Namespace, default: PerGroup) -> PerTensor | PerRow | PerGroup:
    if args.per_tensor:
        return PerTensor()
    if args.per_row:
        return PerRow()
    if args.group_size is None:
        return default
    with placed("--group-size"):
        return PerGroup(args.group_size)


def _budget_of(args: argparse.Namespace) -> Budget | None:
    if not _has_goal(args):
        return None
    with placed("--target-bits" if args.target_size is None else "--target-size"):
        budget = Budget(args.target_bits, nbytes=args.target_size)
    if args.choices is None:
        return budget
    words = args.choices.split(",")
    if not all(word.strip().isdecimal() for word in words):
        raise UsageError(f"--choices: expected numbers like 2,3,4,8, not {args.choices!r}")
    return replace(budget, choices=tuple(int(word) for word in words))

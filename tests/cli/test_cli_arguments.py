"""Absurd arguments, of every option that a command has: exit code 1 or 2 and a reason.

The options come from the parsers, so that new ones are tried too. ``--hypothesis-profile=thorough``
tries every value; else some are drawn.
"""

import importlib
import random

import numpy as np
import pytest
from commands import complaint, run
from hypothesis import settings

import pyfq
from pyfq.cli import COMMANDS
from pyfq.cli._parser import Parser
from pyfq.io import write_safetensors

ABSURD = (
    "", " ", "-1", "0", "1", "-0.0", "0.5", "1e-400", "1e999", "-1e999", "nan", "inf", "-inf",
    str(2**31), str(2**63), str(2**70), "9" * 400, "9" * 5000, "x" * 5000, "٣", "\uff11", "1_000",
    "0x10", "true", "None", "a\nb", "\x1b[2J", "\udcff", "é", "\x00", "*", "[", "~", "-", "--", ":",
    "a:b:c", "1:2", "-1:-1", "1,2,3", "0,0", ",", "4,9999999999999,3", "2,99", ".", "..", "/",
    "no/such/file", "no/such.npz", "m.safetensors", "n.safetensors", "n.safetensors/x", "x.npy",
    "d.npz", "r.toml", "empty", "empty.npz", "empty.safetensors", "folder", "folder.npz",
    "/dev/null", "/dev/full", "/proc/self/mem", "/dev/null/x.json", "relu", "softmax:1", "cosine:x",
    "step:0:0", "leaky_relu:nan", "4:0", "x" * 300 + ".npz", "x" * 300 + ".safetensors",
)  # fmt: skip
# A device takes what is written, and root could replace it.
WRITTEN = {"--json", "--plot", "--output", "--out", "--digest"}
# What is legal, and takes for ever.
ENDLESS = {"--epochs": {str(2**31), str(2**63), str(2**70), "9" * 400}}

# Bench and demo take long: something else that is wrong ends them.
COMMAND_LINES = {
    "compress": "m.safetensors -o out",
    "decompress": "q.safetensors -o out",
    "inspect": "m.safetensors",
    "train": "--layers 4,3 --data d.npz -o out.safetensors --epochs 1",
    "distill": "n.safetensors --student 4,3 --data d.npz -o out.safetensors --epochs 1",
    "evaluate": "n.safetensors --data d.npz",
    "predict": "n.safetensors --input x.npy -o out.csv",
    "check": "pack",
    "bench": "--quick --threads 0 --json no/such/file",
    "info": "",
    "demo": "--quick --out m.safetensors --json no/such/file",
}


def actions_of(command):
    """Return what the parser of a command takes."""
    subparsers = Parser().add_subparsers()
    importlib.import_module(f"pyfq.cli.{command}").add_parser(subparsers)
    return [a for a in subparsers.choices[command]._actions if a.dest != "help"]


def name_of(action):
    return action.option_strings[-1] if action.option_strings else action.dest


VALUED = [
    pytest.param(command, action, id=f"{command} {name_of(action)}")
    for command in COMMANDS
    for action in actions_of(command)
    if action.nargs != 0
]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Make a directory of small files, and go there."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((12, 4)).astype(np.float32)
    tensors = {"w": rng.standard_normal((64, 64)).astype(np.float32), "bias": x[0]}
    write_safetensors("m.safetensors", tensors)
    pyfq.save_network(pyfq.Network.create((4, 5, 3)), "n.safetensors")
    np.savez("d.npz", x=x, y=np.arange(12) % 3)
    np.save("x.npy", x)
    (tmp_path / "r.toml").write_text('[[rule]]\nmatch = "*"\nquantize = { bits = 8 }\n')
    for name in ("empty", "empty.npz", "empty.safetensors"):
        (tmp_path / name).touch()
    for name in ("folder", "folder.npz"):
        (tmp_path / name).mkdir()
    assert run("compress", "m.safetensors", "-o", "q.safetensors")[0] == 0
    return tmp_path


def cleared(place):
    """Remove what a call before has written."""
    for file in ("out.safetensors", "out.csv", "out/model.safetensors"):
        (place / file).unlink(missing_ok=True)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_lines_are_right_before_they_are_made_absurd(place, command):
    words = [command, *COMMAND_LINES[command].split()]
    assert complaint(words, place) is None


@pytest.mark.parametrize(("command", "action"), VALUED)
def test_absurd_values_of_an_option(place, command, action):
    name = name_of(action)
    values = [v for v in ABSURD if v not in ENDLESS.get(name, ())]
    if name in WRITTEN:
        values = [v for v in values if not v.startswith(("/dev", "/proc"))]
    rng = random.Random(f"{command} {name}")
    values = rng.sample(values, min(len(values), max(1, 6 * settings().max_examples // 100)))
    found = []
    for value in values:
        cleared(place)
        line = COMMAND_LINES[command].split()
        if action.option_strings:
            words = [command, *line, f"{name}={value}"]
        elif line and not line[0].startswith("-"):
            words = [command, value, *line[1:]]
        else:
            words = [command, value, *line]
        reason = complaint(words, place)
        if reason is not None:
            found.append(f"{value[:50]!r}: {reason}")
    assert not found, "\n".join(found)


SENSIBLE = {
    int: ("1", "2", "3", "4", "8", "16", "64"),
    float: ("0", "0.1", "0.5", "1", "2", "4", "50"),
    None: ("w", "1:1", "2:4", "2,4,8", "mse", "absmax", "relu", "cosine", "4:2", "d.npz", "0:0"),
}


def drawn(action, rng):
    """Return an option with a value that may be right."""
    name = name_of(action)
    if action.nargs == 0:
        return [name]
    values = SENSIBLE.get(action.type, ("m.safetensors", "d.npz", "r.toml", "n.safetensors"))
    return [f"{name}={rng.choice(action.choices or values)}"]


@pytest.mark.parametrize("command", ["compress", "train", "distill", "predict", "evaluate"])
def test_options_in_any_company(place, command):
    options = [a for a in actions_of(command) if a.option_strings and name_of(a) not in WRITTEN]
    options = [a for a in options if name_of(a) not in ("--epochs", "--threads", "--verbose")]
    found = []
    for seed in range(settings().max_examples // 2):
        cleared(place)
        rng = random.Random(f"{command} {seed}")
        words = [command, *COMMAND_LINES[command].split()]
        for action in rng.sample(options, min(len(options), rng.randrange(1, 6))):
            words += drawn(action, rng)
        reason = complaint(words, place)
        if reason is not None:
            found.append(f"{' '.join(words)}: {reason}")
    assert not found, "\n".join(found[:20])

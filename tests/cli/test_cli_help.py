"""Help fits the terminal."""

import re

import pytest

from pyfq.cli import COMMANDS, main
from pyfq.cli._help import folded


def help_of(capsys, *words):
    with pytest.raises(SystemExit):
        main([*words, "--help"])
    return capsys.readouterr().out


@pytest.mark.parametrize("width", [70, 80, 120])
@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_is_no_wider_than_the_terminal(capsys, monkeypatch, command, width):
    monkeypatch.setenv("COLUMNS", str(width))
    text = help_of(capsys, *command.split())
    long = [line for line in text.splitlines() if len(line) > width]
    # A usage line keeps alternatives together, and words are not broken.
    assert [line for line in long if not re.fullmatch(r" *(\[.*\]|\S+( \\\\)?)", line)] == []


def test_help_says_the_same_on_every_terminal(capsys, monkeypatch):
    words = []
    for width in (60, 80, 140):
        monkeypatch.setenv("COLUMNS", str(width))
        _, found, text = help_of(capsys, "compress").partition("what is compressed:")
        assert found
        words.append(text.replace(" \\\n", " ").replace("# ", "").split())
    assert words[0] == words[1] == words[2]


def test_commands_go_on_behind_a_backslash_and_options_keep_their_values():
    command = "  pyfq train --layers 64,32,10 --data digits.npz -o large.safetensors"
    assert folded(command, 50).splitlines() == [
        "  pyfq train --layers 64,32,10 --data digits.npz \\",
        "      -o large.safetensors",
    ]
    assert folded(command, 100) == command


def test_paragraphs_are_filled_and_columns_folded():
    text = """\
head:
  One sentence that is long enough
  to go on. Another.

  name     what it is, and what it
           is not
  other    short"""
    assert (
        folded(text, 26)
        == """\
head:
  One sentence that is
  long enough to go on.
  Another.

  name     what it is, and
           what it is not
  other    short"""
    )

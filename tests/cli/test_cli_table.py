"""Tables as wide as the terminal."""

import pytest

from pyfq.cli._table import shortened, table_text, width_of

HEADERS = ["tensor", "method", "bits/weight", "seconds", "before"]
METHOD = "int4 symmetric per 128"
ROWS = [
    [
        f"encoder.layer.{i}.attention.self.{part}.weight",
        "int4 symmetric per 128",
        "4.25",
        "0.1",
        "9",
    ]
    for i in range(12)
    for part in ("query", "key", "価値")
]


def test_a_table_with_room_has_every_column_in_full():
    lines = table_text(ROWS, HEADERS).splitlines()
    assert lines[0].split() == HEADERS
    assert lines[2].split("  ")[0] == ROWS[0][0]
    assert table_text(ROWS, HEADERS, width=200) == table_text(ROWS, HEADERS)


@pytest.mark.parametrize("width", [*range(20, 40), 60, 79, 80, 81, 99])
def test_a_table_is_no_wider_than_the_terminal(width):
    text = table_text(ROWS, HEADERS, spare=("seconds", "before"), width=width)
    assert max(map(width_of, text.splitlines())) <= width
    assert len(text.splitlines()) == len(ROWS) + 2


def test_columns_go_in_order_and_names_lose_their_middle():
    spare = ("seconds", "before")
    heads = [
        table_text(ROWS, HEADERS, spare=spare, width=width).splitlines()[0].split()
        for width in (120, 72, 66)
    ]
    assert heads == [HEADERS, [h for h in HEADERS if h != "seconds"], HEADERS[:3]]
    row = table_text(ROWS, HEADERS, spare=spare, width=72).splitlines()[2]
    assert row.split()[0] == "encoder.layer.0...elf.query.weight"
    assert row.split()[-2:] == ["4.25", "9"]


def test_numbers_are_never_shortened():
    rows = [["a" * 90, "123456789.123456"]]
    assert (
        table_text(rows, ["tensor", "bytes"], width=30)
        .splitlines()[2]
        .endswith(" 123456789.123456")
    )


def test_shortened_text_keeps_both_ends_and_counts_wide_letters():
    assert shortened("abc", 3) == "abc"
    assert shortened("abcdefghij", 7) == "ab...ij"
    wide = shortened("重み" * 20, 11)
    assert width_of(wide) <= 11
    assert wide.startswith("重み")
    assert wide.endswith("み")


def test_control_characters_are_escaped():
    assert "\x1b" not in table_text([["a\x1b[2J", "1"]], ["tensor", "bytes"], width=40)

"""Tables, whose cells come from files."""

from pyfq._core.table import text_table


def test_text_table_escapes_what_would_move_the_cursor():
    rows = [("class", "n"), ("a\x1b[2J\nb", "1"), ("x" * 300, "22")]
    header, first, second = text_table(rows).splitlines()
    assert header == "class".ljust(300) + "   n"
    assert first == "a\\x1b[2J\\nb".ljust(300) + "   1"
    assert second == "x" * 300 + "  22"

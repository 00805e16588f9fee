"""The column of a table that holds the text has a usual name, or else the longest strings."""

import pytest

from selfstudy.text.columns import LABEL_COLUMNS, TEXT_COLUMNS, column_names, known_column, text_column


def test_columns_come_in_the_order_in_which_the_rows_show_them():
    assert column_names([{"b": 1}, {"a": 2, "b": 3}, {}]) == ["b", "a"]


@pytest.mark.parametrize(
    ("columns", "known", "found"),
    [
        (["Body", "TEXT"], TEXT_COLUMNS, "TEXT"),  # the order is that of the usual names
        (["target", "Class"], LABEL_COLUMNS, "Class"),
        (["title", "words"], TEXT_COLUMNS, None),
    ],
)
def test_a_usual_name_is_found_in_any_case_and_told_as_the_table_spells_it(columns, known, found):
    assert known_column(columns, known) == found


@pytest.mark.parametrize(
    ("rows", "column"),
    [
        ([{"title": "a much longer string", "text": "short"}], "text"),
        ([{"a": "four", "b": "1"}, {"a": "x", "b": "seventeen letters"}], "b"),
        ([{"text": 3, "words": "ab"}], "words"),  # a number is not a text, even in a column of a usual name
        ([{"n": 1.5}, {}], None),
        ([], None),
    ],
)
def test_without_a_usual_name_the_column_with_the_most_characters_holds_the_text(rows, column):
    assert text_column(rows) == column

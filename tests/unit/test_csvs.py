"""Cells of CSV files: no spreadsheet takes a name for a formula, and our own readers have the name again."""

import csv
import io

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mperceiver.csvs import guarded, to_csv, unguarded


@pytest.mark.parametrize("text", ["=cmd|'/C calc'!A0", "+1+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "'=1", "''-x"])
def test_a_formula_is_no_formula_any_more(text):
    assert guarded(text) == f"'{text}" and unguarded(guarded(text)) == text


@pytest.mark.parametrize("text", ["", "a", "1.5", "'quoted'", "a=b", "x-y", " =1", "雪"])
def test_other_text_stays_as_it_is(text):
    assert guarded(text) == text == unguarded(text)


@given(st.text(alphabet="'=+-@\t\r\na1,\"", max_size=8))
def test_every_text_comes_back(text):
    cell = guarded(text)
    assert cell[:1] not in tuple("=+-@\t\r") and unguarded(cell) == text
    written = to_csv(["id", "n"], [[text, -1.5]])
    assert list(csv.reader(io.StringIO(written, newline=""))) == [["id", "n"], [cell, "-1.5"]]
    read = pd.read_csv(io.StringIO(written), dtype={"id": str}, keep_default_na=False)
    assert read["id"].tolist() == [cell] and read["n"].tolist() == [-1.5]


def test_numbers_are_written_as_they_are():
    rows = [["a", -0.1, None, 3], ["b", float("nan"), float("-inf"), 1e-07]]
    assert to_csv(["id", "x", "y", "z"], rows) == "id,x,y,z\na,-0.1,,3\nb,,-inf,1e-07\n"

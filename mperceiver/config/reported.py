"""config/reported/: numbers of publications that tables show beside measured ones, a number a line.

A file has the columns table, task, dataset, method_type, method, metric, value, higher_is_better, and may have two more: source (where the
number is from, shown beside the method's name) and doubt (what speaks against a number, shown as a mark). An empty value stands for
a dash in the publication.
"""

import csv
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from pathlib import Path

from mperceiver.config.base import ConfigError

FOLDER = Path("config/reported")
PAPER = "cvpr2024"  # the paper's own numbers
COLUMNS = ("table", "task", "dataset", "method", "metric", "value")

Place = tuple[str, str, str, str]  # file, table, task, dataset


@dataclass(frozen=True)
class Number:
    """A number as it was published."""

    place: Place
    method: str
    metric: str  # the metric's label: PSNR
    value: Decimal  # with the decimals that were printed
    source: str = ""
    doubt: str = ""


def path_of_reported(name: str) -> Path:
    """The file of numbers of that name."""
    return FOLDER / f"{name}.csv"


def reported_names() -> list[str]:
    """The stems of all files of reported numbers, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.csv"))


def reported_numbers(name: str) -> list[Number]:
    """The numbers of config/reported/<name>.csv, in its order.

    Raises ConfigError, which names the file and the line: the file is missing or lacks a column, or a value is no number or given twice.
    """
    path = path_of_reported(name)
    try:
        return _numbers(name, path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}; `reported` needs it") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-8") from None


@lru_cache(maxsize=8)
def _numbers(name: str, text: str) -> list[Number]:
    path, numbers = path_of_reported(name), {}
    lines = csv.DictReader(text.splitlines())
    if missing := [column for column in COLUMNS if column not in (lines.fieldnames or ())]:
        raise ConfigError(f"{path}: no column {missing[0]}; its first line names the columns {', '.join(COLUMNS)}")
    for line in lines:
        where = f"{path}, line {lines.line_num}"
        if None in line or None in line.values():
            raise ConfigError(f"{where}: not as many fields as the first line has")
        if not line["value"]:
            continue
        number = _number(name, where, line)
        key = (number.place, number.method, number.metric)
        if key in numbers:
            raise ConfigError(
                f"{where}: {number.method} has a second {number.metric} at {' / '.join(number.place[1:])}"
            )
        numbers[key] = number
    return list(numbers.values())


def _number(name: str, where: str, line: dict[str, str]) -> Number:
    try:
        value = Decimal(line["value"])
    except InvalidOperation:
        value = Decimal("NaN")
    if not value.is_finite():
        raise ConfigError(f"{where}: value: {line['value']!r} is no number")
    place = (name, line["table"], line["task"], line["dataset"])
    return Number(place, line["method"], line["metric"], value, line.get("source", ""), line.get("doubt", ""))

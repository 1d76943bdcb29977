"""Reads every table of an output with pyarrow, DuckDB and Polars as they are, and compares windows with an independent calculation.

    python check.py OUTPUT RECORDING…

OUTPUT is the folder of a replay of the RECORDINGs (NDJSON files, or folders of them) that has the window `by_label` of
examples/iomt/tidewatch.toml. Ends with 1 and the first difference if there is one.

The readers are those that a user has: nothing here knows how the tables are made but for what USE says of them.
"""

import collections
import datetime
import fractions
import glob
import json
import math
import os
import sys

import duckdb
import polars
import pyarrow.dataset

WINDOW_US = 10_000_000
OUT_OF_ORDERNESS_MS = 2_000
ALLOWED_LATENESS_MS = 30_000
EPOCH = datetime.datetime(1970, 1, 1)
OTHER_TABLES = ["events", "anomalies", "late", "quarantine", "ledger"]


def mean(values):
    return float(sum(values) / len(values))


def stddev(values):
    """The sample's, from an exact variance."""
    if len(values) < 2:
        return None
    centre = sum(values) / len(values)
    return math.sqrt(sum((value - centre) ** 2 for value in values) / (len(values) - 1))


AGGREGATES = [
    ("Rate", "mean", mean),
    ("Rate", "stddev", stddev),
    ("Header_Length", "mean", mean),
    ("Tot sum", "min", lambda values: float(min(values))),
    ("Tot sum", "max", lambda values: float(max(values))),
    ("Variance", "mean", mean),
]


def recorded(path):
    """The files of a recording."""
    return sorted(glob.glob(os.path.join(path, "*.ndjson"))) if os.path.isdir(path) else [path]


def accepted(path):
    """The events of a file that are readable and not too late, by the rule of the watermark."""
    seen = -math.inf
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            try:
                event = json.loads(line)
            except json.JSONDecodeError:
                continue
            if not isinstance(event.get("ts"), int):
                continue
            if event["ts"] >= seen - OUT_OF_ORDERNESS_MS - ALLOWED_LATENESS_MS:
                yield event
            seen = max(seen, event["ts"])


def calculate(recordings):
    """The windows by label, with exact sums of rationals, rounded once: {(start in µs, label): [count, …]}."""
    groups = collections.defaultdict(list)
    for path in (file for recording in recordings for file in recorded(recording)):
        for event in accepted(path):
            start = event["ts"] * 1000 // WINDOW_US * WINDOW_US
            groups[start, event["label"]].append(event)
    return {key: answers(events) for key, events in groups.items()}


def answers(events):
    exact = {field: [fractions.Fraction(float(event[field])) for event in events] for field, _, _ in AGGREGATES}
    return [len(events)] + [compute(exact[field]) for field, _, compute in AGGREGATES]


def by_pyarrow(folder):
    return pyarrow.dataset.dataset(folder, format="parquet", partitioning="hive").to_table()


def by_duckdb(folder):
    pattern = os.path.join(folder, "**", "*.parquet").replace("'", "''")
    result = duckdb.sql(f"select * from read_parquet('{pattern}', hive_partitioning = true)")
    return result.to_arrow_table() if hasattr(result, "to_arrow_table") else result.arrow()


def by_polars(folder):
    return polars.scan_parquet(os.path.join(folder, "**", "*.parquet"), hive_partitioning=True).collect().to_arrow()


READERS = {"pyarrow": by_pyarrow, "duckdb": by_duckdb, "polars": by_polars}


def microseconds(time):
    """Exact, where `timestamp()` goes through a float."""
    since = time.replace(tzinfo=None) - EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def newest(table):
    """The newest revision of each window, as `calculate` has them."""
    rows = {}
    for line in table.to_pylist():
        key = (microseconds(line["window_start"]), line["label"])
        if key not in rows or rows[key][0] < line["revision"]:
            columns = [f"{field}_{name}" for field, name, _ in AGGREGATES]
            rows[key] = (line["revision"], [line["count"]] + [line[column] for column in columns])
    return {key: found for key, (_, found) in rows.items()}


def is_close(left, right):
    if left is None or right is None:
        return left is right
    return left == right or abs(left - right) <= 1e-12 * max(abs(left), abs(right))


def compare(name, found, wanted):
    if found.keys() != wanted.keys():
        missing, extra = sorted(wanted.keys() - found.keys())[:3], sorted(found.keys() - wanted.keys())[:3]
        sys.exit(f"{name}: windows missing {missing}, not expected {extra}")
    columns = ["count"] + [f"{field}_{aggregate}" for field, aggregate, _ in AGGREGATES]
    for key, right in wanted.items():
        for column, left, right in zip(columns, found[key], right, strict=True):
            if not is_close(left, right):
                sys.exit(f"{name}: window {key} {column} is {left!r}, not {right!r}")


def comparable(value):
    """A value that is the same whichever reader gave it: times without their zone's class, structs in any order."""
    if isinstance(value, dict):
        return tuple(sorted((name, comparable(inner)) for name, inner in value.items()))
    if isinstance(value, list):
        return tuple(comparable(inner) for inner in value)
    if hasattr(value, "tzinfo"):
        return microseconds(value)
    return value


def rows_of(table, columns):
    """Every row, in an order of its own. Folders' names (date, hour) are not columns of the files."""
    lines = table.select(columns).to_pylist()
    return sorted((tuple(comparable(line[column]) for column in columns) for line in lines), key=repr)


def check_same(output, table):
    """Every reader finds the same columns and the same rows."""
    folder = os.path.join(output, table)
    if not glob.glob(os.path.join(folder, "**", "*.parquet"), recursive=True):
        print(f"{table}: no rows, no files")
        return
    tables = {name: read(folder) for name, read in READERS.items()}
    names = {name: sorted(rows.column_names) for name, rows in tables.items()}
    if len({tuple(columns) for columns in names.values()}) != 1:
        sys.exit(f"{table}: the readers see other columns: {names}")
    columns = [column for column in names["pyarrow"] if column not in ("date", "hour", "from_epoch")]
    first, *others = [(name, rows_of(rows, columns)) for name, rows in tables.items()]
    for name, rows in others:
        for left, right in zip(first[1], rows, strict=True):
            if left != right:
                sys.exit(f"{table}: {first[0]} reads\n{left}\nand {name}\n{right}")
    print(f"{table}: {len(first[1])} rows, the same for {', '.join(READERS)}")


def main():
    output, recordings = sys.argv[1], sys.argv[2:]
    wanted = calculate(recordings)
    for name, read in READERS.items():
        found = newest(read(os.path.join(output, "windows", "by_label")))
        compare(name, found, wanted)
        print(f"{name}: {len(found)} windows by label equal the independent calculation")
    windows = sorted(os.listdir(os.path.join(output, "windows")))
    for table in [f"windows/{window}" for window in windows] + OTHER_TABLES:
        check_same(output, table)


if __name__ == "__main__":
    main()

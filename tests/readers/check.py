"""Reads every table of an output with pyarrow, DuckDB and Polars as they are, and compares windows with an independent calculation.

    python check.py OUTPUT RECORDING…

OUTPUT is the folder of a replay of the RECORDINGs (NDJSON) by examples/iomt/tidewatch.toml. Ends with 1 and the first
difference if there is one.
"""

import collections
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
AGGREGATES = [
    ("Rate", "mean"),
    ("Rate", "stddev"),
    ("Header_Length", "mean"),
    ("Tot sum", "min"),
    ("Tot sum", "max"),
    ("Variance", "mean"),
]


def calculate(recordings):
    """The windows by label, with exact sums of rationals, rounded once."""
    groups = collections.defaultdict(lambda: collections.defaultdict(list))
    for path in recordings:
        with open(path, encoding="utf-8") as lines:
            for line in lines:
                event = json.loads(line)
                start = event["ts"] * 1000 // WINDOW_US * WINDOW_US
                for field in {field for field, _ in AGGREGATES}:
                    groups[start, event["label"]][field].append(float(event[field]))
    return {key: row(values) for key, values in groups.items()}


def row(values):
    answers = [len(values["Rate"])]
    for field, aggregate in AGGREGATES:
        answers.append(globals()[aggregate](values[field]))
    return answers


def mean(values):
    return float(sum(map(fractions.Fraction, values)) / len(values))


def stddev(values):
    if len(values) < 2:
        return None
    exact = list(map(fractions.Fraction, values))
    centre = sum(exact) / len(exact)
    return math.sqrt(sum((value - centre) ** 2 for value in exact) / (len(exact) - 1))


def files(output, table):
    return sorted(glob.glob(os.path.join(output, table, "**", "*.parquet"), recursive=True))


def by_pyarrow(output, table):
    dataset = pyarrow.dataset.dataset(os.path.join(output, table), format="parquet", partitioning="hive")
    return dataset.to_table()


def by_duckdb(output, table):
    pattern = os.path.join(output, table, "**", "*.parquet")
    return duckdb.sql(f"select * from read_parquet('{pattern}', hive_partitioning = true)").arrow()


def by_polars(output, table):
    return polars.scan_parquet(os.path.join(output, table), hive_partitioning=True).collect().to_arrow()


def newest(table):
    """The newest revision of each window, as {(start, label): [count, …]}."""
    rows = {}
    for line in table.to_pylist():
        key = (int(line["window_start"].timestamp() * 1e6 + 0.5), line["label"])
        if key not in rows or rows[key][0] < line["revision"]:
            rows[key] = (line["revision"], [line["count"]] + [line[f"{field}_{name}"] for field, name in AGGREGATES])
    return {key: answers for key, (_, answers) in rows.items()}


def close(left, right):
    if left is None or right is None:
        return left is right
    return left == right or abs(left - right) <= 1e-12 * max(abs(left), abs(right))


def compare(name, found, wanted):
    if found.keys() != wanted.keys():
        missing, extra = sorted(wanted.keys() - found.keys())[:3], sorted(found.keys() - wanted.keys())[:3]
        sys.exit(f"{name}: windows missing {missing}, not expected {extra}")
    for key, answers in wanted.items():
        for index, (left, right) in enumerate(zip(found[key], answers, strict=True)):
            if not close(left, right):
                what = "count" if index == 0 else "_".join(AGGREGATES[index - 1])
                sys.exit(f"{name}: window {key} {what} is {left!r}, not {right!r}")


def main():
    output, recordings = sys.argv[1], sys.argv[2:]
    readers = {"pyarrow": by_pyarrow, "duckdb": by_duckdb, "polars": by_polars}
    wanted = calculate(recordings)
    for name, read in readers.items():
        found = newest(as_table(read(output, "windows/by_label")))
        compare(name, found, wanted)
        print(f"{name}: {len(found)} windows by label equal the independent calculation")
    for table in ["windows/by_label", "events", "anomalies", "late", "quarantine", "ledger"]:
        if not files(output, table):
            print(f"{table}: no rows, no files")
            continue
        tables = {name: as_table(read(output, table)) for name, read in readers.items()}
        shapes = {name: (rows.num_rows, sorted(rows.column_names)) for name, rows in tables.items()}
        if len({str(shape) for shape in shapes.values()}) != 1:
            sys.exit(f"{table}: the readers disagree: {shapes}")
        print(f"{table}: {tables['pyarrow'].num_rows} rows, the same for all readers")


def as_table(rows):
    return rows.read_all() if hasattr(rows, "read_all") else rows


if __name__ == "__main__":
    main()

"""Asks DuckDB for the anomalies that stand and for the windows that are anomalies, as a user would, and compares the two.

    python standing.py OUTPUT WINDOW KEY DETECTOR

Ends with 1 and the first differences if there are any; else prints how many stand.
"""

import sys

import duckdb

NEWEST = """
    select * from read_parquet('{folder}/**/*.parquet', hive_partitioning = true)
    qualify row_number() over (partition by {identity} order by revision desc) = 1
"""


def main():
    output, window, key, detector = sys.argv[1:]
    windows = NEWEST.format(folder=f"{output}/windows/{window}", identity=f"{key}, window_start")
    anomalies = NEWEST.format(folder=f"{output}/anomalies", identity="detector, key, window_start")
    duckdb.sql(f"create view wanted as select {key} as key, window_start, {detector}_score as score, revision "
               f"from ({windows}) where {detector}_is_anomaly")
    duckdb.sql(f"create view found as select key, window_start, score, revision "
               f"from ({anomalies}) where not retracted and detector = '{detector}'")
    # `except all` counts: a row that is twice is a difference.
    for name, one, other in [("missing", "wanted", "found"), ("not expected", "found", "wanted")]:
        rows = duckdb.sql(f"select * from {one} except all select * from {other}").fetchall()
        if rows:
            sys.exit(f"{len(rows)} anomalies are {name}: {rows[:3]}")
    print(duckdb.sql("select count(*) from found").fetchall()[0][0])


if __name__ == "__main__":
    main()

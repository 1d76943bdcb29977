#!/usr/bin/env python3
"""Makes the pickles beside this file, with what scikit-learn itself computes for a few rows.

    python3 -m venv sklearn && sklearn/bin/pip install scikit-learn joblib pandas numpy
    sklearn/bin/python tests/golden/pickle/make.py

Seeded. `expected.json` names each file and gives what it must hold: a scaler's `transform` of the rows `x`; a forest's arrays
and its `score_samples`; k-means' centres. The files that end in `.evil` are pickles that run code where Python loads them (a harmless `os.getpid`).
"""
import json, pathlib, pickle, warnings

warnings.filterwarnings("ignore")
import joblib
import numpy as np
import pandas as pd
import sklearn
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.ensemble import IsolationForest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler

HERE = pathlib.Path(__file__).parent
RANDOM = np.random.default_rng(7)
ROWS = RANDOM.normal([1.0, -200.0, 0.003, 5.0], [2.0, 40.0, 0.001, 0.0], (64, 4))
NAMED = pd.DataFrame(ROWS, columns=["temperature", "Tot sum", "Größe", "flag"])
X = np.vstack([ROWS[:5], [[1e6, -1e6, 1.0, 5.5], [0.0, 0.0, 0.0, 0.0]]])
EXPECTED = {"sklearn": sklearn.__version__, "numpy": np.__version__, "joblib": joblib.__version__, "x": X.tolist(), "files": {}}


def write(name, made, holds):
    """`name` ends in `.0.pkl` to `.5.pkl` by protocol, or in `.joblib` with `.zlib` or `.gzip` before it."""
    path = HERE / name
    stem, kind, ending = name.rsplit(".", 2)
    if ending == "pkl":
        path.write_bytes(pickle.dumps(made, int(kind)))
    else:
        joblib.dump(made, path, compress={"plain": 0, "zlib": ("zlib", 3), "gzip": ("gzip", 9)}[kind])
    EXPECTED["files"][name] = holds


def scaler(made, names=None):
    return {"names": names, "scaled": made.transform(X).tolist()}


def forest(made):
    trees = []
    for estimator, features in zip(made.estimators_, made.estimators_features_):
        tree = estimator.tree_
        trees.append({"left": tree.children_left.tolist(), "right": tree.children_right.tolist(),
                      "feature": tree.feature.tolist(), "threshold": tree.threshold.tolist(),
                      "samples": tree.n_node_samples.tolist(), "features": np.asarray(features).tolist()})
    return {"features": int(made.n_features_in_), "samples_max": int(made.max_samples_), "offset": float(made.offset_),
            "trees": trees, "scores": made.score_samples(X).tolist()}


def centers(made):
    return {"features": int(made.n_features_in_), "centers": made.cluster_centers_.astype(float).tolist()}


names = list(NAMED.columns)
standard = StandardScaler().fit(ROWS)
for protocol in range(6):
    write(f"standard.{protocol}.pkl", standard, scaler(standard))
for kind in ["plain", "zlib", "gzip"]:
    write(f"standard.{kind}.joblib", standard, scaler(standard))
named = StandardScaler().fit(NAMED)
for name in ["standard_named.0.pkl", "standard_named.5.pkl", "standard_named.plain.joblib", "standard_named.zlib.joblib"]:
    write(name, named, scaler(named, names))
for name, made in {
    "standard_without_mean.5.pkl": StandardScaler(with_mean=False),
    "standard_without_deviation.plain.joblib": StandardScaler(with_std=False),
    "standard_of_nothing.2.pkl": StandardScaler(with_mean=False, with_std=False),
    "min_max.plain.joblib": MinMaxScaler(feature_range=(-1, 2.5)),
    "min_max_clipped.4.pkl": MinMaxScaler(clip=True),
    "robust.3.pkl": RobustScaler(),
    "robust_without_centre.plain.joblib": RobustScaler(with_centering=False, quantile_range=(10, 90), unit_variance=True),
    "robust_without_scale.5.pkl": RobustScaler(with_scaling=False),
    "max_abs.1.pkl": MaxAbsScaler(),
}.items():
    write(name, made, scaler(made.fit(ROWS)))
single = MinMaxScaler().fit(ROWS.astype(np.float32))
write("min_max_of_f32.plain.joblib", single, scaler(single))
write("min_max_of_f32.1.pkl", single, scaler(single))
big = StandardScaler().fit(ROWS)
big.mean_ = big.mean_.astype(">f8")
write("standard_big_endian.5.pkl", big, scaler(big))
write("standard_big_endian.2.pkl", big, scaler(big))

few = IsolationForest(n_estimators=3, max_samples=16, random_state=1).fit(ROWS)
for name in ["forest.0.pkl", "forest.5.pkl", "forest.zlib.joblib"]:
    write(name, few, forest(few))
part = IsolationForest(n_estimators=3, max_samples=8, max_features=0.5, contamination=0.1,
                       random_state=np.random.RandomState(3)).fit(ROWS)
write("forest_of_parts.4.pkl", part, forest(part))
clusters = KMeans(3, n_init=1, random_state=1).fit(ROWS)
write("clusters.5.pkl", clusters, centers(clusters))
write("clusters.plain.joblib", clusters, centers(clusters))
by_columns = KMeans(3, n_init=1, random_state=1).fit(ROWS)
by_columns.cluster_centers_ = np.asfortranarray(by_columns.cluster_centers_)
for name in ["clusters_by_columns.1.pkl", "clusters_by_columns.5.pkl", "clusters_by_columns.plain.joblib"]:
    write(name, by_columns, centers(by_columns))
batches = MiniBatchKMeans(2, n_init=1, random_state=1).fit(ROWS.astype(np.float32))
write("clusters_of_f32.2.pkl", batches, centers(batches))
pipeline = make_pipeline(StandardScaler(), IsolationForest(n_estimators=2, max_samples=8, random_state=1)).fit(ROWS)
holds = forest(pipeline[1])
holds["scores"] = pipeline[1].score_samples(pipeline[0].transform(X)).tolist()
write("pipeline.5.pkl", pipeline, {**scaler(pipeline[0]), **holds})


class Evil:
    def __reduce__(self):
        import os
        return os.getpid, ()


hidden = StandardScaler().fit(ROWS)
hidden.copy = Evil()
(HERE / "hidden.evil").write_bytes(pickle.dumps(hidden, 4))
joblib.dump({"names": np.array([Evil()], dtype=object)}, HERE / "in_an_array.evil")
(HERE / "expected.json").write_text(json.dumps(EXPECTED, ensure_ascii=False) + "\n")

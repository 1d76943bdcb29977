"""Trains the small LSTM autoencoder that `models/iomt` holds, with Keras, on benign flows of the project's own generator.

    cargo run --release -- simulate --profile iomt --devices 50 --duration 800s --seed 11 --to flows.ndjson
    pip install tensorflow-cpu
    python models/train_iomt.py flows.ndjson trained/
    cargo run --release -- import trained/autoencoder.keras trained/scaler.json trained/threshold.json \
        trained/numeric_features.json --error mae --to models/iomt
"""

import json
import pathlib
import sys

import keras
import numpy

FEATURES = [
    "Header_Length", "Protocol Type", "Time_To_Live", "Rate", "fin_flag_number", "syn_flag_number", "psh_flag_number",
    "ack_flag_number", "ece_flag_number", "cwr_flag_number", "HTTP", "HTTPS", "DNS", "Telnet", "SMTP", "SSH", "IRC", "TCP",
    "UDP", "DHCP", "ARP", "ICMP", "IGMP", "Tot sum", "Min", "Max", "AVG", "Std", "IAT", "Number", "Variance",
]  # fmt: skip


def main():
    recording, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(11)
    with open(recording, encoding="utf-8") as lines:
        events = [json.loads(line) for line in lines]
    rows = numpy.array([[event[name] for name in FEATURES] for event in events if event["label"] == "Benign"])
    training, validation = rows[: len(rows) * 4 // 5], rows[len(rows) * 4 // 5 :]
    low, high = training.min(axis=0), training.max(axis=0)
    # As scikit-learn has it: what never changes keeps its unit.
    span = numpy.where(high > low, high - low, 1.0)

    def scale(values):
        return ((values - low) / span).astype("float32")[:, None, :]

    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Input((1, len(FEATURES))),
            layers.LSTM(32, return_sequences=True),
            layers.LSTM(16),
            layers.RepeatVector(1),
            layers.LSTM(16, return_sequences=True),
            layers.LSTM(32, return_sequences=True),
            layers.TimeDistributed(layers.Dense(len(FEATURES))),
        ]
    )
    model.compile(optimizer="adam", loss="mae")
    model.fit(scale(training), scale(training), epochs=12, batch_size=128, verbose=2)
    errors = numpy.abs(model.predict(scale(validation), verbose=0) - scale(validation)).mean(axis=(1, 2))
    # Without what only more training would need.
    bare = keras.Sequential.from_config(model.get_config())
    bare.set_weights(model.get_weights())
    bare.save(folder / "autoencoder.keras")
    scaler = {
        "type": "MinMaxScaler",
        "feature_range": [0, 1],
        "clip": False,
        "features": FEATURES,
        "data_min": low.tolist(),
        "data_max": high.tolist(),
        "scale": (1 / span).tolist(),
        "min": (-low / span).tolist(),
    }
    (folder / "scaler.json").write_text(json.dumps(scaler))
    (folder / "numeric_features.json").write_text(json.dumps(FEATURES))
    (folder / "threshold.json").write_text(json.dumps({"threshold": float(numpy.percentile(errors, 99.9))}))


if __name__ == "__main__":
    main()

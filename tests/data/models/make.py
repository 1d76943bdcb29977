#!/usr/bin/env python3
"""Makes the small Keras models beside this file, with what Keras itself computes for a few rows.

    python3 -m venv keras3 && keras3/bin/pip install keras tensorflow-cpu h5py numpy
    python3 -m venv keras2 && keras2/bin/pip install tensorflow-cpu==2.15.1 'numpy<2' h5py
    for each in keras3 keras2; do $each/bin/python tests/data/models/make.py; done

Seeded; another Keras may draw other weights, which the expectations follow. Each model is written with the rows `x` it was
given, its output and the mean absolute and squared error of each row.
"""
import json, os, pathlib, warnings

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
warnings.filterwarnings("ignore")
import keras
import numpy as np
from keras import layers, models

HERE = pathlib.Path(__file__).parent
RANDOM = np.random.default_rng(7)


def shaken(model):
    """Gives every weight a value of its own, moving statistics and biases too."""
    for layer in model.layers:
        drawn = []
        for weight in layer.weights:
            spread = 0.6 / np.sqrt(weight.shape[0]) if len(weight.shape) > 1 else 0.2
            value = RANDOM.normal(0.0, spread * 1.5, weight.shape)
            if "variance" in getattr(weight, "path", weight.name):
                value = 0.5 + np.abs(value)
            drawn.append(value.astype(np.float32))
        layer.set_weights(drawn)
    return model


def write(name, model, endings):
    x = RANDOM.normal(0.0, 1.0, (6, *model.input_shape[1:])).astype(np.float32)
    x[-1] *= 20.0
    y = model.predict(x, verbose=0).reshape(x.shape)
    rows = [r.reshape(-1).astype(float).tolist() for r in x]
    off = (x.astype(float) - y.astype(float)).reshape(len(x), -1)
    expected = {"keras": keras.__version__, "input": model.input_shape[1:], "x": rows,
                "y": [r.reshape(-1).astype(float).tolist() for r in y],
                "mae": np.abs(off).mean(1).tolist(), "mse": (off ** 2).mean(1).tolist()}
    (HERE / f"{name}.expected.json").write_text(json.dumps(expected) + "\n")
    for ending in endings:
        model.save(HERE / f"{name}{ending}")


def dense(units, activation):
    return layers.Dense(units, activation=activation)


def keras_3():
    write("together", shaken(models.Sequential([
        layers.Input((1, 5)),
        layers.LSTM(9, return_sequences=True), layers.Dropout(0.2), layers.LSTM(3),
        layers.RepeatVector(1),
        layers.LSTM(6, return_sequences=True, activation="softsign", recurrent_activation="hard_sigmoid", use_bias=False),
        layers.BatchNormalization(), layers.TimeDistributed(layers.Dense(5)),
    ])), [".h5", ".keras"])

    take = layers.Input((4, 1), name="readings")
    flow = layers.LSTM(10, go_backwards=True, return_sequences=True, recurrent_activation="sigmoid")(take)
    flow = layers.LSTM(5, activation="relu")(flow)
    flow = layers.LeakyReLU(negative_slope=0.1)(flow)
    flow = layers.RepeatVector(4)(flow)
    flow = layers.LSTM(7, return_sequences=True)(flow)
    flow = layers.Flatten()(flow)
    flow = layers.Dense(4, use_bias=False)(flow)
    flow = layers.Reshape((4, -1))(flow)
    write("steps", shaken(models.Model(take, flow)), [".h5", ".keras"])

    write("activations", shaken(models.Sequential([
        layers.Input((6,)),
        dense(9, "tanh"), dense(9, "sigmoid"), dense(9, "hard_sigmoid"), dense(9, "elu"), dense(9, "selu"), dense(9, "softplus"),
        dense(9, "softsign"), dense(9, "silu"), dense(9, "gelu"), dense(9, "exponential"), dense(9, "softmax"), dense(9, "leaky_relu"),
        layers.BatchNormalization(scale=False), layers.ELU(alpha=0.7), layers.ReLU(max_value=6.0), dense(6, "linear"),
    ])), [".keras"])

    write("sequence", shaken(models.Sequential([
        layers.Input((3, 2)),
        layers.LSTM(8), layers.RepeatVector(3), dense(4, "tanh"), layers.LSTM(8, return_sequences=True), dense(2, "linear"),
    ])), [".h5"])


def keras_2():
    take = layers.Input((1, 5))
    flow = layers.LSTM(9, return_sequences=True, recurrent_activation="hard_sigmoid")(take)
    flow = layers.Dropout(0.2)(flow)
    flow = layers.LSTM(4, activation="relu")(flow)
    flow = layers.RepeatVector(1)(flow)
    flow = layers.LSTM(6, return_sequences=True)(flow)
    flow = layers.BatchNormalization()(flow)
    flow = layers.LeakyReLU(alpha=0.2)(flow)
    flow = layers.TimeDistributed(layers.Dense(5))(flow)
    write("functional_of_keras_2", shaken(models.Model(take, flow)), [".h5", ".keras"])

    write("stack_of_keras_2", shaken(models.Sequential([
        layers.LSTM(7, input_shape=(4, 1)), layers.RepeatVector(4),
        layers.LSTM(7, return_sequences=True), layers.TimeDistributed(layers.Dense(1, activation="hard_sigmoid")),
    ])), [".h5", ".keras"])


keras_2() if keras.__version__.startswith("2.") else keras_3()

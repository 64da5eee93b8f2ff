# ruff: noqa: A002, I001, N803, N806 - X is a matrix, and a round is called a round
# fmt: off
"""A joint study: a small network that tells benign from malignant. Every site runs exactly these bytes.
Round 1 measures each column's mean and second moment; their mean over sites, weighted by rows, is that of the pooled
table, so all standardise alike and no patient leaves a hospital. Later rounds train the network from joint weights."""
import numpy as np

HIDDEN, EPOCHS, BATCH, STEP, DECAY = 32, 4, 32, 0.2, 1e-3


def init(seed, columns):
    """What everyone starts from, arrays by name. `columns` names the features in order."""
    random, d = np.random.default_rng(seed), len(columns)
    return {"mean": np.zeros(d), "second_moment": np.ones(d), "b1": np.zeros(HIDDEN), "b2": np.zeros(1),
            "w1": random.normal(size=(d, HIDDEN)) / d**0.5, "w2": random.normal(size=(HIDDEN, 1)) / HIDDEN**0.5}


def train(weights, X, y, seed, round):
    """One round at one site: X is rows × columns, y is 0 or 1. Returns the site's new weights."""
    if round == 1:
        return weights | {"mean": X.mean(0), "second_moment": (X * X).mean(0)}
    w, random, Z = dict(weights), np.random.default_rng([seed, round]), (X - weights["mean"]) / deviation(weights)
    for _ in range(EPOCHS):
        for rows in np.array_split(random.permutation(len(y)), max(1, len(y) // BATCH)):
            hidden, p = forward(w, Z[rows])
            error = (p - y[rows])[:, None] / len(rows)
            back = error @ w["w2"].T * (hidden > 0)
            gradient = {"w1": Z[rows].T @ back, "b1": back.sum(0), "w2": hidden.T @ error, "b2": error.sum(0)}
            w |= {name: w[name] - STEP * (g + DECAY * w[name]) for name, g in gradient.items()}
    return w


def evaluate(weights, X, y):
    """Figures to report, by name."""
    _, p = forward(weights, (X - weights["mean"]) / deviation(weights))
    return {"accuracy": np.mean((p > 0.5) == (y == 1)), "loss": -np.mean(np.log(np.maximum(abs(1 - y - p), 1e-7)))}


def export(weights, columns):
    """The model as ONNX: rows of raw columns in; the probability of class 1, and the label, out."""
    from onnx import TensorProto, helper, numpy_helper as nh
    values = {"deviation": deviation(weights), "half": 0.5} | {n: w for n, w in weights.items() if n != "second_moment"}
    constants = [nh.from_array(np.float32(v), n) for n, v in values.items()] + [nh.from_array(np.array([1]), "one")]
    steps = ["Sub x,mean c", "Div c,deviation z", "Gemm z,w1,b1 a", "Relu a h", "Gemm h,w2,b2 o", "Sigmoid o s",
             "Squeeze s,one probability", "Greater probability,half positive"]
    nodes = [helper.make_node(op, i.split(","), [o]) for op, i, o in map(str.split, steps)]
    value, real, whole = helper.make_tensor_value_info, TensorProto.FLOAT, TensorProto.INT64
    nodes.append(helper.make_node("Cast", ["positive"], ["label"], to=whole))
    graph = helper.make_graph(nodes, "study", [value("x", real, ["rows", len(columns)])],
                              [value("probability", real, ["rows"]), value("label", whole, ["rows"])], constants)
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    return model.SerializeToString(deterministic=True)


def deviation(weights):
    return np.sqrt(np.maximum(weights["second_moment"] - weights["mean"] ** 2, 1e-7))


def forward(w, Z):
    hidden = np.maximum(Z @ w["w1"] + w["b1"], 0)
    return hidden, 1 / (1 + np.exp(-np.clip(hidden @ w["w2"] + w["b2"], -60, 60)))[:, 0]

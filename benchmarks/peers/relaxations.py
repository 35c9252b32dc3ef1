"""Times the same relaxation in JAX, in PyTorch and by pc-bench, on one thread, in one run.

    python3 -m venv peers && peers/bin/pip install numpy jax torch
    cargo build --release -p pc-bench
    peers/bin/python benchmarks/peers/relaxations.py

Standard PC at rate 0.1, in f32: a pass forward, T steps of all hidden states with the input and the
output held, then the gradients of all weights. Each net is one vertex a layer: what is linear, its
activation, and its pooling. The JAX program is unrolled and compiled as a whole; the PyTorch
program asks autograd for each layer's pullback. Both start from the same weights, and must end with
the same energy and gradients, or the run fails. Those of pc-bench are of the same shapes, from its
own seed; its figure is that of `standard` in `pc-bench speed`.

The three take turns, so that what slows the machine down slows all of them. Shown are medians, and
pc-bench's time over that of each peer. A peer that is not installed is left out, and so is a net
that this pc-bench does not have; both are said. Rows are shown on standard error as they are found.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

RATE = 0.1
DENSE, CONV = "dense", "conv"

# Name: batch, T, shape of a sample, layers (kind, outputs, kernel, padding, pooled), and what
# pc-bench calls it.
NETS = {
    "mlp": (64, 20, (784,), [(DENSE, 512), (DENSE, 512), (DENSE, 10)], ["--model", "mlp"]),
    "pcx-mlp": (
        128,
        8,
        (784,),
        [(DENSE, 128), (DENSE, 128), (DENSE, 128), (DENSE, 10)],
        ["--model", "mlp", "--widths", "784,128,128,128,10"],
    ),
    "lenet": (
        64,
        20,
        (1, 28, 28),
        [(CONV, 6, 5, 2), (CONV, 16, 5, 0), (DENSE, 120), (DENSE, 84), (DENSE, 10)],
        ["--model", "cnn"],
    ),
    "vgg5": (
        16,
        8,
        (3, 32, 32),
        [(CONV, 128, 3, 1), (CONV, 256, 3, 1), (CONV, 512, 3, 1), (CONV, 512, 3, 1), (DENSE, 10)],
        ["--model", "vgg5"],
    ),
}


def one_thread():
    """Pins this process, and what it starts, to one core, before any peer is imported."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"


def weights(numpy, shape, layers):
    """Weights (outputs, inputs, ...) and biases, uniform within 1/sqrt(fan-in)."""
    draw = numpy.random.default_rng(0)
    found = []
    for kind, outputs, *window in layers:
        if kind == CONV:
            kernel, padding = window
            form = (outputs, shape[0], kernel, kernel)
            side = (shape[1] + 2 * padding - kernel + 1) // 2
            shape = (outputs, side, side)
        else:
            form = (outputs, int(numpy.prod(shape)))
            shape = (outputs,)
        bound = 1 / numpy.sqrt(numpy.prod(form[1:]))
        uniform = lambda size: draw.uniform(-bound, bound, size).astype("float32")
        found.append((uniform(form), uniform(outputs)))
    return found


def batch_of(numpy, batch, shape, classes):
    """A batch of random samples, and one class for each."""
    x = numpy.random.default_rng(1).uniform(-1, 1, (batch, *shape)).astype("float32")
    y = numpy.zeros((batch, classes), "float32")
    y[range(batch), [sample % classes for sample in range(batch)]] = 1
    return x, y


class Jax:
    """The program in JAX: unrolled, jitted."""

    name = "JAX"

    def __init__(self, layers, steps, activation, parameters, x, y):
        import jax
        from jax import lax
        from jax import numpy as jnp

        after = {"relu": jax.nn.relu, "gelu": lambda v: jax.nn.gelu(v, approximate=False)}
        after = after[activation]
        last = len(layers) - 1

        def layer(index, own, v):
            kind, _, *window = layers[index]
            w, b = own
            if kind == DENSE:
                if v.ndim > 2:
                    # Channels first, as the weights have it.
                    v = v.transpose(0, 3, 1, 2).reshape(len(v), -1)
                v = v @ w.T + b
                return v if index == last else after(v)
            pad = [(window[1], window[1])] * 2
            layout = ("NHWC", "OIHW", "NHWC")
            v = after(lax.conv_general_dilated(v, w, (1, 1), pad, dimension_numbers=layout) + b)
            return lax.reduce_window(v, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")

        def relax(parameters, x, y):
            def predict(index, v):
                return jax.vjp(lambda v: layer(index, parameters[index], v), v)

            values, made = [x], []
            for index in range(last + 1):
                made.append(predict(index, values[-1]))
                values.append(made[-1][0])
            values[-1] = y
            for _ in range(steps):
                errors = [v - mu for v, (mu, _) in zip(values[1:], made)]
                for k in range(1, last + 1):
                    (force,) = made[k][1](errors[k])
                    values[k] = values[k] + RATE * (force - errors[k - 1])
                made = [made[0]] + [predict(k, values[k]) for k in range(1, last + 1)]
            errors = [v - mu for v, (mu, _) in zip(values[1:], made)]
            gradients = []
            for k, error in enumerate(errors):
                _, pull = jax.vjp(lambda own, k=k: layer(k, own, values[k]), parameters[k])
                gradients.append(pull(-error)[0])
            return 0.5 * sum((e**2).sum() for e in errors), gradients

        x = x.transpose(0, 2, 3, 1) if x.ndim == 4 else x
        self.given = jax.device_put((parameters, x, y))
        self.compiled = jax.jit(relax).lower(*self.given).compile()
        self.ready = jax.block_until_ready

    def run(self):
        return self.ready(self.compiled(*self.given))


class Torch:
    """The program in PyTorch: autograd pulls layer by layer."""

    name = "PyTorch"

    def __init__(self, layers, steps, activation, parameters, x, y):
        import torch
        from torch.nn import functional

        torch.set_num_threads(1)
        self.torch, self.functional, self.layers, self.steps = torch, functional, layers, steps
        self.after = {"relu": functional.relu, "gelu": functional.gelu}[activation]
        self.last = len(layers) - 1
        tensor = torch.from_numpy
        self.parameters = [tuple(tensor(p).requires_grad_() for p in own) for own in parameters]
        self.x, self.y = tensor(x), tensor(y)

    def layer(self, index, v):
        kind, _, *window = self.layers[index]
        w, b = self.parameters[index]
        if kind == DENSE:
            v = self.functional.linear(v.flatten(1), w, b)
            return v if index == self.last else self.after(v)
        v = self.after(self.functional.conv2d(v, w, b, padding=window[1]))
        return self.functional.max_pool2d(v, 2)

    def predict(self, index, value):
        value = value.detach().requires_grad_(index > 0)
        return value, self.layer(index, value)

    def run(self):
        torch, last = self.torch, self.last
        values, made = [self.x], []
        for index in range(last + 1):
            made.append(self.predict(index, values[-1]))
            values.append(made[-1][1].detach())
        values[-1] = self.y
        for _ in range(self.steps):
            errors = [v - mu.detach() for v, (_, mu) in zip(values[1:], made)]
            for k in range(1, last + 1):
                value, mu = made[k]
                (force,) = torch.autograd.grad(mu, value, errors[k])
                values[k] = values[k] + RATE * (force - errors[k - 1])
            made = [made[0]] + [self.predict(k, values[k]) for k in range(1, last + 1)]
        errors = [v - mu.detach() for v, (_, mu) in zip(values[1:], made)]
        gradients = [
            torch.autograd.grad(mu, own, -error)
            for (_, mu), own, error in zip(made, self.parameters, errors)
        ]
        return 0.5 * sum((e**2).sum() for e in errors), gradients


def numbers(found):
    """The energy, and each gradient's length."""
    import numpy

    energy, gradients = found
    return [float(energy)] + [
        float(numpy.linalg.norm(numpy.asarray(g).ravel())) for own in gradients for g in own
    ]


def pc_bench(program, named, batch, steps, activation, rounds):
    """The median milliseconds of standard PC; or why there are none."""
    words = [program, "speed", "--json", "--backend", "host", "--schedule", "standard", *named]
    words += ["--batch", str(batch), "--steps", str(steps), "--activation", activation]
    ran = subprocess.run(
        words + ["--threads", "1", "--repeats", str(rounds)], capture_output=True, text=True
    )
    if ran.returncode != 0:
        return None, ran.stderr.strip().splitlines()[-1]
    for event in map(json.loads, ran.stdout.splitlines()):
        if event.get("event") == "step" and event.get("name") == "standard":
            return 1e3 * event["seconds"]["median"], None
    return None, "it printed no time of standard PC"


def compare(args, kinds, net, activation):
    """One row of the table."""
    import numpy

    batch, steps, shape, layers, named = NETS[net]
    parameters = weights(numpy, shape, layers)
    x, y = batch_of(numpy, batch, shape, layers[-1][1])
    peers = [kind(layers, steps, activation, parameters, x, y) for kind in kinds]
    found = [numbers(peer.run()) for peer in peers]
    # Programs round differently: the gradients of the first layers are small differences of errors,
    # and have few digits in f32.
    few = 1e-6 * max(map(abs, found[0]))
    for other in found[1:]:
        if not numpy.allclose(found[0], other, rtol=1e-3, atol=few):
            sys.exit(f"{net}, {activation}: the peers' programs differ: {found[0]} and {other}")
    own, times, why = [], [[] for _ in peers], None
    for _ in range(args.turns):
        milliseconds, why = pc_bench(args.pc_bench, named, batch, steps, activation, args.rounds)
        own += [milliseconds] if milliseconds is not None else []
        for peer, all_times in zip(peers, times):
            for _ in range(args.rounds):
                start = time.perf_counter()
                peer.run()
                all_times.append(1e3 * (time.perf_counter() - start))
    mine = statistics.median(own) if own else None
    row = [net, activation, str(batch), str(steps), f"{mine:.2f}" if own else "-"]
    for all_times in times:
        theirs = statistics.median(all_times)
        row += [f"{theirs:.2f}", f"{mine / theirs:.2f}" if own else "-"]
    return row, why


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pc-bench", default="target/release/pc-bench", metavar="PROGRAM")
    parser.add_argument("--nets", default=",".join(NETS), help="of %(default)s")
    parser.add_argument("--activations", default="relu,gelu", help="of %(default)s")
    parser.add_argument("--turns", type=int, default=3, help="of each program, in turn")
    parser.add_argument("--rounds", type=int, default=10, help="relaxations a turn")
    args = parser.parse_args()
    nets, activations = args.nets.split(","), args.activations.split(",")
    for name in nets:
        if name not in NETS:
            parser.error(f"no net is called {name}; there are {', '.join(NETS)}")
    for name in activations:
        if name not in ("relu", "gelu"):
            parser.error(f"the peers have relu and gelu, not {name}")
    if min(args.turns, args.rounds) < 1:
        parser.error("--turns and --rounds are at least 1")
    one_thread()
    kinds, said = [], []
    for kind, module in ((Jax, "jax"), (Torch, "torch")):
        try:
            kinds.append((kind, __import__(module).__version__))
        except ImportError as error:
            said.append(f"without {kind.name}: {error}")
    if not kinds:
        parser.error(f"no peer is installed: pip install numpy jax torch ({'; '.join(said)})")
    header = ["net", "activation", "batch", "T", "pc-bench ms"]
    for kind, _ in kinds:
        header += [f"{kind.name} ms", "ratio"]
    rows = []
    for net in nets:
        for activation in activations:
            row, why = compare(args, [kind for kind, _ in kinds], net, activation)
            rows.append(row)
            print("  ".join(row), file=sys.stderr, flush=True)
            said += [f"{net}, {activation}: no time of pc-bench: {why}"] if why else []
    widths = [max(len(row[k]) for row in [header, *rows]) for k in range(len(header))]
    for row in [header, *rows]:
        cells = (c.ljust(w) if k < 2 else c.rjust(w) for k, (c, w) in enumerate(zip(row, widths)))
        print("  ".join(cells))
    print("ratio: pc-bench's time over the peer's; below 1 pc-bench is quicker")
    print(", ".join(f"{kind.name} {version}" for kind, version in kinds))
    if said:
        print("\n".join(said))


if __name__ == "__main__":
    main()

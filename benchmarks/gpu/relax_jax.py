"""Relaxation of an MLP (tanh, T = 20) under one `jit`. Words: widths, batch, precisions. Prints lines `precision mode median_us`."""

import statistics
import sys
import time

import jax
import jax.numpy as jnp

WIDTHS, BATCH = [int(n) for n in sys.argv[1].split(",")], int(sys.argv[2])
PRECISIONS, STEPS, RATE, ROUNDS = sys.argv[3].split(","), 20, 0.1, 200


def main():
    if jax.default_backend() != "gpu":
        raise SystemExit("absent: JAX sees no GPU")
    keys = jax.random.split(jax.random.PRNGKey(0), len(WIDTHS) + 1)
    weights = [jax.random.normal(k, (m, n)) / n**0.5 for k, n, m in zip(keys, WIDTHS, WIDTHS[1:])]
    x, y = jax.random.normal(keys[-2], (BATCH, WIDTHS[0])), jax.random.normal(keys[-1], (BATCH, WIDTHS[-1]))
    last = len(weights) - 1

    def act(l, z):
        return jnp.tanh(z) if l < last else z

    def slope(l, m):
        return 1 - m * m if l < last else jnp.ones_like(m)

    narrow = [False]

    def product(a, b):
        """In f32 or tf32 as the precision says; in bf16 with f32 sums and results."""
        if narrow[0]:
            return jnp.dot(a.astype(jnp.bfloat16), b.astype(jnp.bfloat16), preferred_element_type=jnp.float32)
        return a @ b

    def forward(weights, x):
        mu = []
        for l, w in enumerate(weights):
            x = act(l, x @ w.T)
            mu.append(x)
        return mu

    def live(weights, mu, y):
        def step(_, v):
            predicted = [mu[0]] + [act(l, product(v[l - 1], weights[l].T)) for l in range(1, last + 1)]
            errors = [v[l] - predicted[l] for l in range(last + 1)]
            pulled = [product(slope(l + 1, predicted[l + 1]) * errors[l + 1], weights[l + 1]) for l in range(last)]
            return [v[l] + RATE * (pulled[l] - errors[l]) for l in range(last)] + [v[last]]

        return jax.lax.fori_loop(0, STEPS, step, mu[:last] + [y])

    def frozen(weights, mu, y):
        fixed = [slope(l, m) for l, m in enumerate(mu)]

        def step(_, e):
            pulled = [product(fixed[l + 1] * e[l + 1], weights[l + 1]) for l in range(last)]
            return [e[l] + RATE * (pulled[l] - e[l]) for l in range(last)] + [e[last]]

        return jax.lax.fori_loop(0, STEPS, step, [jnp.zeros_like(m) for m in mu[:last]] + [y - mu[last]])

    names = {"f32": "highest", "tf32": "tensorfloat32", "bf16": "highest"}
    for precision in PRECISIONS:
        narrow[0] = precision == "bf16"
        with jax.default_matmul_precision(names[precision]):
            mu = jax.jit(forward)(weights, x)
            for mode, body in [("live", live), ("frozen", frozen)]:
                compiled = jax.jit(body).lower(weights, mu, y).compile()
                for _ in range(20):
                    jax.block_until_ready(compiled(weights, mu, y))
                times = []
                for _ in range(ROUNDS):
                    # JAX has no device events: a call after a call, until the second is done.
                    begin = time.perf_counter()
                    jax.block_until_ready(compiled(weights, mu, y))
                    times.append((time.perf_counter() - begin) * 1e6)
                print(precision, mode, statistics.median(times), flush=True)


main()

"""Relaxation of an MLP 784-512-512-10, tanh, batch 64, T = 20, as one recorded CUDA graph. Prints lines `precision mode median_us`."""

import statistics

import torch

WIDTHS, BATCH, STEPS, RATE, ROUNDS = [784, 512, 512, 10], 64, 20, 0.1, 200


def main():
    if not torch.cuda.is_available():
        raise SystemExit("absent: PyTorch sees no GPU")
    torch.manual_seed(0)
    dev = "cuda"
    weights = [torch.randn(m, n, device=dev) / n**0.5 for n, m in zip(WIDTHS, WIDTHS[1:])]
    x, y = torch.randn(BATCH, WIDTHS[0], device=dev), torch.randn(BATCH, WIDTHS[-1], device=dev)
    acts = [torch.tanh, torch.tanh, lambda z: z]
    slopes = [lambda m: 1 - m * m, lambda m: 1 - m * m, torch.ones_like]
    last = len(weights) - 1
    mu = [x]
    for weight, act in zip(weights, acts):
        mu.append(act(mu[-1] @ weight.T))
    held = mu[1].clone()  # the prediction from the held input, which never changes
    start = [m.clone() for m in mu[1:]]
    start[last] = y
    v = [s.clone() for s in start]

    def live():
        for s, state in zip(start, v):
            state.copy_(s)
        for _ in range(STEPS):
            predicted = [held] + [acts[l](v[l - 1] @ weights[l].T) for l in range(1, last + 1)]
            errors = [v[l] - predicted[l] for l in range(last + 1)]
            for l in range(last):
                pulled = (slopes[l + 1](predicted[l + 1]) * errors[l + 1]) @ weights[l + 1]
                v[l].add_(pulled - errors[l], alpha=RATE)

    fixed = [slope(m) for slope, m in zip(slopes, mu[1:])]
    e = [torch.zeros_like(s) for s in start]

    def frozen():
        for l in range(last):
            e[l].zero_()
        e[last].copy_(y - mu[-1])
        for _ in range(STEPS):
            pulled = [(fixed[l + 1] * e[l + 1]) @ weights[l + 1] for l in range(last)]
            for l in range(last):
                e[l].add_(pulled[l] - e[l], alpha=RATE)

    for precision in ["f32", "tf32"]:
        torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
        for mode, body in [("live", live), ("frozen", frozen)]:
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(3):
                    body()
            torch.cuda.current_stream().wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                body()
            for _ in range(20):
                graph.replay()
            times = []
            for _ in range(ROUNDS):
                begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
                begin.record()
                graph.replay()
                end.record()
                end.synchronize()
                times.append(begin.elapsed_time(end) * 1e3)
            print(precision, mode, statistics.median(times), flush=True)


main()

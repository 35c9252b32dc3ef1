"""Relaxation of an MLP (tanh, T = 20) as one recorded CUDA graph. Words: widths, batch, precisions. Prints lines `precision mode median_us`."""

import statistics
import sys

import torch

WIDTHS, BATCH = [int(n) for n in sys.argv[1].split(",")], int(sys.argv[2])
PRECISIONS, STEPS, RATE, ROUNDS = sys.argv[3].split(","), 20, 0.1, 200


def main():
    if not torch.cuda.is_available():
        raise SystemExit("absent: PyTorch sees no GPU")
    torch.manual_seed(0)
    dev = "cuda"
    weights = [torch.randn(m, n, device=dev) / n**0.5 for n, m in zip(WIDTHS, WIDTHS[1:])]
    x, y = torch.randn(BATCH, WIDTHS[0], device=dev), torch.randn(BATCH, WIDTHS[-1], device=dev)
    last = len(weights) - 1
    acts = [torch.tanh] * last + [lambda z: z]
    slopes = [lambda m: 1 - m * m] * last + [torch.ones_like]
    operands = list(weights)  # of the products in the loop

    def product(a, b):
        """In f32 or tf32 as it is; in bf16 with f32 sums and results."""
        return torch.mm(a.to(torch.bfloat16), b, out_dtype=torch.float32) if b.dtype == torch.bfloat16 else a @ b

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
            predicted = [held] + [acts[l](product(v[l - 1], operands[l].T)) for l in range(1, last + 1)]
            errors = [v[l] - predicted[l] for l in range(last + 1)]
            for l in range(last):
                pulled = product(slopes[l + 1](predicted[l + 1]) * errors[l + 1], operands[l + 1])
                v[l].add_(pulled - errors[l], alpha=RATE)

    fixed = [slope(m) for slope, m in zip(slopes, mu[1:])]
    e = [torch.zeros_like(s) for s in start]

    def frozen():
        for l in range(last):
            e[l].zero_()
        e[last].copy_(y - mu[-1])
        for _ in range(STEPS):
            pulled = [product(fixed[l + 1] * e[l + 1], operands[l + 1]) for l in range(last)]
            for l in range(last):
                e[l].add_(pulled[l] - e[l], alpha=RATE)

    for precision in PRECISIONS:
        torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
        operands[:] = [w.to(torch.bfloat16) for w in weights] if precision == "bf16" else weights
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

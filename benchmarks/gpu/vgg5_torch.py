"""A training pass of VGG5 (tanh, 2x2 mean pooling, T = 20) by predictive coding as one recorded CUDA graph: forward pass, relaxation, gradients. Words:
batch, precisions. Prints lines `precision mode median_us`."""

import statistics
import sys

import torch
import torch.nn.functional as F
from torch.nn.grad import conv2d_input, conv2d_weight

BATCH, PRECISIONS, STEPS, RATE, ROUNDS = int(sys.argv[1]), sys.argv[2].split(","), 20, 0.05, 20
CHANNELS = [3, 128, 256, 512, 512]


def main():
    if not torch.cuda.is_available():
        raise SystemExit("absent: PyTorch sees no GPU")
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True
    dev = "cuda"
    kernels = [torch.randn(m, n, 3, 3, device=dev) / (9 * n) ** 0.5 for n, m in zip(CHANNELS, CHANNELS[1:])]
    dense = torch.randn(10, 2048, device=dev) / 2048**0.5
    x = torch.randn(BATCH, 3, 32, 32, device=dev)
    y = torch.randn(BATCH, 10, device=dev)

    def body(live, dtype):
        """Products of this type, all else f32."""
        low = [k.to(dtype).contiguous(memory_format=torch.channels_last) for k in kernels]
        head = dense.to(dtype)

        def predict(l, v):
            if l == 4:
                return (v.flatten(1).to(dtype) @ head.T).float(), None
            a = torch.tanh(F.conv2d(v.to(dtype).contiguous(memory_format=torch.channels_last), low[l], padding=1).float())
            return F.avg_pool2d(a, 2), a

        def before(l, e, a):
            """What arrives before the activation."""
            if l == 4:
                return e
            return F.interpolate(e, scale_factor=2, mode="nearest") * 0.25 * (1 - a * a)

        def pull(l, g, shape):
            if l == 4:
                return (g.to(dtype) @ head).float().view(shape)
            return conv2d_input(shape, low[l], g.to(dtype).contiguous(memory_format=torch.channels_last), padding=1).float()

        v, held = [x], []
        for l in range(5):
            mu, a = predict(l, v[l])
            v.append(mu)
            held.append(a)
        e = [torch.zeros_like(m) for m in v[1:]]
        e[4] = y - v[5]
        v = [m.clone() for m in v]
        v[5] = y
        start = None
        for _ in range(STEPS):
            if live:
                for l in range(5):
                    if l == 0 and start is not None:
                        mu = start
                    else:
                        mu, held[l] = predict(l, v[l])
                        start = mu if l == 0 else start
                    e[l] = v[l + 1] - mu
            pulled = [pull(l, before(l, e[l], held[l]), v[l].shape) for l in range(1, 5)]
            for l in range(4):
                (v[l + 1] if live else e[l]).add_(pulled[l] - e[l], alpha=RATE)
        if live:
            for l in range(1, 5):
                mu, held[l] = predict(l, v[l])
                e[l] = v[l + 1] - mu
            e[0] = v[1] - start
        gradients = []
        for l in range(5):
            g = before(l, e[l], held[l])
            if l == 4:
                gradients.append(g.T @ v[4].flatten(1))
            else:
                gradients.append(conv2d_weight(v[l], kernels[l].shape, g, padding=1))
        return gradients

    for precision in PRECISIONS:
        torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
        torch.backends.cudnn.allow_tf32 = precision == "tf32"
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        for mode in ["live", "frozen"]:
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(3):
                    body(mode == "live", dtype)
            torch.cuda.current_stream().wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                kept = body(mode == "live", dtype)
            for _ in range(5):
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
            del kept


main()

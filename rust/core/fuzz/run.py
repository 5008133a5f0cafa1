"""Runs every fuzz target for a share of the time and says how it went: run.py [--seconds N] [--planted] [--keep].

As many targets run side by side as there are cores; the time is that of all added up.
Starts from the corpus in the tree, in a folder of its own. --keep adds what was found new, and shortest, to the corpus.
--build only builds them.
--planted builds a defect in on purpose and fails unless each target that has it finds it within its share of the time.
Crashers are written to artifacts/.

Needs cargo-fuzz and a C++ compiler; without them it says so and is skipped, with exit code 0. Without a sanitizer no
nightly compiler is needed.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
TARGETS = ("frame", "text", "topic", "dialect", "translate", "session")
PLANTED = ("dialect", "session")
TRIPLE = re.search(r"host: (\S+)", subprocess.run(["rustc", "-vV"], capture_output=True, text=True, check=False).stdout)
LIMITS = ["-timeout=10", "-rss_limit_mb=2048", "-max_len=8192"]


def missing() -> str | None:
    if shutil.which("cargo-fuzz") is None:
        return "cargo-fuzz is not installed (cargo install cargo-fuzz --locked)"
    return None if shutil.which("c++") else "no C++ compiler (Debian: g++)"


def build(*, planted: bool) -> Path:
    """No sanitizer: all of it is safe Rust, and the time goes into inputs."""
    folder = HERE / "target" / ("planted" if planted else "")
    command = ["cargo", "fuzz", "build", "-s", "none", "--target-dir", str(folder)]
    subprocess.run([*command, *(["--features", "planted"] if planted else [])], cwd=HERE, check=True)
    assert TRIPLE is not None
    return folder / TRIPLE[1] / "release"


def run(binary: Path, corpus: Path, found: Path, seconds: float) -> tuple[int, str, float]:
    """The exit code, what was said, and after how many seconds."""
    found.mkdir()
    artifacts = HERE / "artifacts" / binary.name
    artifacts.mkdir(parents=True, exist_ok=True)
    command = [binary, f"-max_total_time={max(1, round(seconds))}", f"-artifact_prefix={artifacts}/", *LIMITS]
    begin = time.monotonic()
    done = subprocess.run(
        [*map(str, command), str(found), str(corpus)], capture_output=True, text=True, errors="replace", check=False
    )
    return done.returncode, done.stderr, time.monotonic() - begin


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--planted", action="store_true")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--build", action="store_true")
    parser.add_argument("targets", nargs="*", metavar="TARGET")
    options = parser.parse_args()
    if (why := missing()) is not None:
        print(f"fuzz: SKIPPED: {why}")
        return 0
    targets = options.targets or (PLANTED if options.planted else TARGETS)
    binaries = build(planted=options.planted)
    if options.build:
        return 0
    failed = []
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder, ThreadPoolExecutor(os.cpu_count()) as side_by_side:

        def begin(target: str) -> tuple[int, str, float]:
            corpus, found = HERE / "corpus" / target, Path(folder) / target
            return run(binaries / target, corpus, found, options.seconds / len(targets))

        for target, (code, said, took) in zip(targets, side_by_side.map(begin, targets), strict=True):
            corpus, found = HERE / "corpus" / target, Path(folder) / target
            runs = re.findall(r"^#(\d+)\s", said, re.MULTILINE)
            covered = re.findall(r"cov: (\d+)", said)
            verdict = "ok" if code == 0 else "CRASHED"
            if options.planted:
                verdict = f"found after {took:.1f} s" if code and "planted" in said else "NOT FOUND"
            if verdict in {"CRASHED", "NOT FOUND"}:
                failed.append(target)
                print(said[-2000:], file=sys.stderr)
            done, reached, new = runs[-1:] or ["0"], covered[-1:] or ["0"], len(list(found.iterdir()))
            print(
                f"{target:10} {done[0]:>9} runs {took:6.1f} s  coverage {reached[0]:>5}  new inputs {new:>4}  {verdict}"
            )
            if options.keep and not options.planted:
                merge = [str(binaries / target), "-merge=1", *LIMITS, str(corpus), str(found)]
                subprocess.run(merge, capture_output=True, check=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

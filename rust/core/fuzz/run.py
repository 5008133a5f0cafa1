"""Runs every fuzz target for a share of the time and says how it went: run.py [--seconds N] [--planted] [--keep].

Starts from the corpus in the tree, in a folder of its own. --keep adds what was found new, and shortest, to the corpus.
--planted builds a defect in on purpose and fails unless each target that has it finds it within its share of the time.
Crashers are written to artifacts/.

Needs cargo-fuzz and a C++ compiler; without them it says so and is skipped, with exit code 0. Without a sanitizer no
nightly compiler is needed.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import time
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


def run(binary: Path, corpus: Path, found: Path, seconds: float) -> tuple[int, str]:
    artifacts = HERE / "artifacts" / binary.name
    artifacts.mkdir(parents=True, exist_ok=True)
    command = [binary, f"-max_total_time={max(1, round(seconds))}", f"-artifact_prefix={artifacts}/", *LIMITS]
    done = subprocess.run(
        [*map(str, command), str(found), str(corpus)], capture_output=True, text=True, errors="replace", check=False
    )
    return done.returncode, done.stderr


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--planted", action="store_true")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("targets", nargs="*", metavar="TARGET")
    options = parser.parse_args()
    if (why := missing()) is not None:
        print(f"fuzz: SKIPPED: {why}")
        return 0
    targets = options.targets or (PLANTED if options.planted else TARGETS)
    binaries = build(planted=options.planted)
    failed = []
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        for target in targets:
            corpus, found = HERE / "corpus" / target, Path(folder) / target
            found.mkdir()
            begin = time.monotonic()
            code, said = run(binaries / target, corpus, found, options.seconds / len(targets))
            took = time.monotonic() - begin
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

"""Builds what is published, into dist/, and tries it: a manylinux wheel for every CPython found here, and the sdist.

Each wheel is installed into an empty environment of its own and must there carry an event through a socket, type
information and the list of what it was built of, end as its interpreter does, and be imported within 30 ms; the sdist
must become a wheel again. maturin refuses a platform tag that the built library does not keep to.

Zig links against the old symbols of that tag. Its own unwinder must stay out: before Python 3.14 the end of the
interpreter unwinds daemon threads with the system's, and where one of those was in our code, which asked the other
unwinder, the process ended by SIGSEGV.

wheels.py [--python PATH ...] [--no-sdist]
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"
TAG = "manylinux2014"
VERSIONS = ("3.11", "3.12", "3.13", "3.14", "3.15")
IMPORT_SECONDS = 0.030
ROUNDS = 25
UNWINDER = "libgcc_s.so.1"
# Ends its interpreter over daemon threads in our code: not one of so many may crash.
ENDS_IN_CALLS = ROOT / "tests/programs/exit_in_native_calls.py"
ENDS = 12
ABOUT = "import sys, json; print(json.dumps([sys.version_info[:2], sys.implementation.name, sys.executable]))"
IMPORT = """
import time
cpu, wall = time.process_time(), time.perf_counter()
import daemoneye_eventbus
print(time.process_time() - cpu, time.perf_counter() - wall)
"""
TRIAL = """
import asyncio, os, sys, tempfile
import daemoneye_eventbus
from daemoneye_eventbus import *
from daemoneye_eventbus import Broker, EventBus, ProcessEvent

async def main():
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "b.sock")
        async with Broker(path), EventBus.connect(path) as bus, bus.subscribe(ProcessEvent) as events:
            await bus.publish(ProcessEvent(pid=os.getpid(), name="trial"), "c-1")
            received = await events.get(timeout=10)
            assert received.event.pid == os.getpid(), received

asyncio.run(main())
assert sys.prefix in daemoneye_eventbus.__file__, daemoneye_eventbus.__file__
print(daemoneye_eventbus.__version__)
"""


def run(*words: str | Path, **options: object) -> str:
    """What it printed; ends this program if it fails."""
    done = subprocess.run(
        [str(word) for word in words],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        **options,  # type: ignore[call-overload]  # cwd and env
    )
    if done.returncode:
        sys.exit(f"wheels: {' '.join(map(str, words))}\nended with {done.returncode}\n{done.stdout}")
    return str(done.stdout)


def interpreters() -> dict[str, str]:
    """Every version that runs here, with its path."""
    places = [*os.environ.get("PATH", "").split(os.pathsep), *map(str, Path.home().glob(".pyenv/versions/*/bin"))]
    found: dict[str, str] = {}
    for version in VERSIONS:
        for place in places:
            candidate = Path(place) / f"python{version}"
            if version in found or not os.access(candidate, os.X_OK):
                continue
            # A shim may stand there for a version that it then does not have.
            told = subprocess.run([candidate, "-c", ABOUT], capture_output=True, text=True, check=False)
            if told.returncode == 0 and json.loads(told.stdout)[:2] == [list(map(int, version.split("."))), "cpython"]:
                found[version] = json.loads(told.stdout)[2]
    return found


def import_seconds(python: Path) -> tuple[float, float]:
    """What the import takes in a fresh interpreter, in medians: time of the processor, and by the clock on the wall."""
    rounds = [list(map(float, run(python, "-c", IMPORT).split())) for _ in range(ROUNDS)]
    return statistics.median(cpu for cpu, _ in rounds), statistics.median(wall for _, wall in rounds)


def unwinder() -> str:
    """The system's, by its path: of its name Zig makes its own."""
    found = Path(run("cc", f"-print-file-name={UNWINDER}").strip())
    if not found.is_absolute():
        sys.exit(f"wheels: cc knows of no {UNWINDER}")
    return str(found.resolve())


def inspect(wheel: Path) -> None:
    """What must be inside, and what must not."""
    archive = zipfile.ZipFile(wheel)
    names = archive.namelist()
    licences = [f".dist-info/licenses/{name}" for name in ("LICENSE", "THIRD-PARTY-LICENSES")]
    for ending in ("/py.typed", "/_native.pyi", "/_bindings.pyi", *licences):
        if not any(name.endswith(ending) for name in names):
            sys.exit(f"wheels: {wheel.name} has no {ending}")
    if not any(".dist-info/sboms/" in name for name in names):
        sys.exit(f"wheels: {wheel.name} has no SBOM")
    libraries = [name for name in names if name.endswith((".so", ".pyd"))]
    if len(libraries) != 1:
        sys.exit(f"wheels: {wheel.name} has not one library but {libraries}")
    if UNWINDER.encode() not in archive.read(libraries[0]):
        sys.exit(f"wheels: {wheel.name} unwinds without {UNWINDER}")
    strange = [name for name in names if not name.startswith(("daemoneye_eventbus/", "daemoneye_eventbus-"))]
    if strange:
        sys.exit(f"wheels: {wheel.name} brings {strange}")


def inspect_source(sdist: Path) -> None:
    """Whoever has it alone can follow what the README leads to, and has all that the tests in it read."""
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    wanted = {target for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", readme) if (ROOT / target).is_file()}
    wanted |= {file.relative_to(ROOT).as_posix() for file in (ROOT / "tests/vectors").iterdir()}
    if missing := sorted(wanted - names):
        sys.exit(f"wheels: {sdist.name} lacks {', '.join(missing)}")


def trial(wheel: Path, interpreter: str) -> None:
    """Installs it where nothing else is, and uses it there."""
    with tempfile.TemporaryDirectory() as directory:
        run(interpreter, "-m", "venv", directory)
        python = Path(directory) / "bin/python"
        run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index", wheel)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        version = run(python, "-W", "error", "-c", TRIAL, cwd=directory, env=environment).strip()
        run(Path(directory) / "bin/daemoneye-eventbus", "--help")
        for number in range(ENDS):
            run(python, ENDS_IN_CALLS, Path(directory) / f"{number}.sock", cwd=directory, env=environment)
        spent, wall = import_seconds(python)
    size = wheel.stat().st_size / 1e6
    print(
        f"wheels: {wheel.name} works: version {version}, {size:.1f} MB, "
        f"import {spent * 1e3:.1f} ms of processor, {wall * 1e3:.1f} ms of time",
        flush=True,
    )
    # The clock on the wall also shows what else this machine does.
    if spent > IMPORT_SECONDS:
        sys.exit(f"wheels: the import takes more than {IMPORT_SECONDS * 1e3:.0f} ms")


def main() -> None:
    """Builds and tries everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", action="append", help="an interpreter to build for (default: all that are found)")
    parser.add_argument("--no-sdist", action="store_true", help="build no wheel out of the sdist")
    arguments = parser.parse_args()
    pythons = arguments.python or list(interpreters().values())
    maturin = [sys.executable, "-m", "maturin"]
    # Where maturin looks for the python that has Zig.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    DIST.mkdir(exist_ok=True)
    for old in DIST.glob("daemoneye_eventbus-*"):
        old.unlink()
    for python in pythons:
        with tempfile.TemporaryDirectory(dir=DIST) as made:
            options = ["--release", "--locked", "--zig", "--compatibility", TAG, "--interpreter", python, "--out", made]
            run(*maturin, "build", *options, "--", "-C", f"link-arg={unwinder()}", cwd=ROOT)
            (built,) = Path(made).glob("*.whl")
            wheel = built.rename(DIST / built.name)
        if "manylinux_2_17" not in wheel.name:
            sys.exit(f"wheels: {wheel.name} is not for {TAG}")
        inspect(wheel)
        trial(wheel, python)
    run(*maturin, "sdist", "--out", DIST, cwd=ROOT)
    (sdist,) = DIST.glob("*.tar.gz")
    inspect_source(sdist)
    if not arguments.no_sdist:
        with tempfile.TemporaryDirectory() as made:
            # The dependencies that were compiled for this tree will do for that one.
            environment = os.environ | {"CARGO_TARGET_DIR": str(ROOT / "target")}
            run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", made, sdist, env=environment)
            (wheel,) = Path(made).glob("*.whl")
            trial(wheel, sys.executable)
    print(f"wheels: {sdist.name} builds" if not arguments.no_sdist else f"wheels: {sdist.name} written")


if __name__ == "__main__":
    main()

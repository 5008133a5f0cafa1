"""Writes THIRD-PARTY-LICENSES: the licence of every crate that is linked into the library, as the crate brings it.

Run it again when test_supply_chain.py says that the file has fallen behind Cargo.lock. Of a crate with several licences
to choose from, it takes the first of `PREFERRED`. Crates that only run during the build are no part of the library.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "THIRD-PARTY-LICENSES"
TARGETS = ("x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu", "aarch64-apple-darwin", "x86_64-pc-windows-msvc")
PREFERRED = (
    *("LICENSE-MIT", "LICENSE.MIT", "license-mit", "LICENSE", "LICENSE.md"),
    *("LICENSE-0BSD.txt", "LICENSE-MIT0", "LICENSE_CC0"),
)
HEAD = "The library of this package contains these crates. Each is used under the licence that follows its name.\n"
RULE = "=" * 80


def cargo(*words: str) -> str:
    """What it printed."""
    return subprocess.run(["cargo", *words, "--locked"], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout


def linked() -> list[str]:
    """`name version` of every crate of others in the library, on any system that it is built for."""
    edges = ("-p", "daemoneye-eventbus-python", "-e", "normal,no-proc-macro", "--prefix", "none", "-f", "{p}")
    targets = [word for target in TARGETS for word in ("--target", target)]
    rows = {tuple(row.split()[:2]) for row in cargo("tree", *edges, *targets).splitlines() if row}
    return sorted(f"{name} {version.removeprefix('v')}" for name, version in rows if not name.startswith("daemoneye-"))


def text_of(folder: Path) -> str:
    """The licence under which the crate in `folder` is used."""
    for name in PREFERRED:
        if (folder / name).is_file():
            return "\n".join(row.rstrip() for row in (folder / name).read_text(encoding="utf-8").splitlines()).strip()
    sys.exit(f"notices: no licence was found in {folder}; add its file's name to PREFERRED")


def main() -> None:
    """Crates that have the same text share it."""
    metadata = json.loads(cargo("metadata", "--format-version", "1"))
    folders = {f"{one['name']} {one['version']}": Path(one["manifest_path"]).parent for one in metadata["packages"]}
    crates_of: dict[str, list[str]] = {}
    for crate in linked():
        crates_of.setdefault(text_of(folders[crate]), []).append(crate)
    parts = [f"{RULE}\n" + "".join(f"{one}\n" for one in crates) + f"\n{text}\n" for text, crates in crates_of.items()]
    FILE.write_text("\n".join([HEAD, *parts]), encoding="utf-8")


if __name__ == "__main__":
    main()

"""What comes into the build is listed with its reason, and `unsafe` stands where it may."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LISTED = (ROOT / "docs" / "dependencies.md").read_text()
# The transport, where descriptors are raw, and the conversion to Python's objects.
UNSAFE_ROOMS = (
    "rust/core/src/transport/",
    "rust/python/src/calls.rs",
    "rust/python/src/objects.rs",
    "rust/python/src/saved_exception.rs",
    "rust/python/src/slots.rs",
    "rust/python/src/timestamp.rs",
)


def named() -> set[str]:
    return {
        name for row in re.findall(r"^\| (`.+?) \|", LISTED, re.MULTILINE) for name in re.findall(r"`([^`]+)`", row)
    }


def dependencies() -> set[str]:
    found: set[str] = set()
    for manifest in ("rust/core", "rust/python", "rust/core/fuzz"):
        told = tomllib.loads((ROOT / manifest / "Cargo.toml").read_text())
        for table in (told, *told.get("target", {}).values()):
            for kind in ("dependencies", "dev-dependencies", "build-dependencies"):
                found |= set(table.get(kind, {}))
    python = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert python["project"]["dependencies"] == []
    for group in (python["project"]["optional-dependencies"] | python["dependency-groups"]).values():
        found |= {re.split(r"[\[<>=;]", word)[0] for word in group}
    return found


def test_every_dependency_has_a_reason():
    ours = {"daemoneye-eventbus-core"}
    assert named() == dependencies() - ours


def test_codec_and_sockets_are_pinned_and_every_exception_ends():
    workspace = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]
    assert workspace["dependencies"]["bincode"]["version"] == "=2.0.1"
    assert workspace["dependencies"]["interprocess"] == "=2.4.7"
    for ignored in tomllib.loads((ROOT / "deny.toml").read_text())["advisories"]["ignore"]:
        assert re.search(r"by 20\d\d-\d\d-\d\d", ignored["reason"]), ignored


def test_whoever_installs_from_source_gets_the_versions_of_the_lock_file():
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["maturin"]["locked"] is True


@pytest.mark.skipif(not shutil.which("cargo"), reason="cargo knows what is linked")
def test_the_licence_of_all_that_is_linked_goes_with_it():
    """For this system, whose crates are here; `.ci/notices.py` also knows those of others."""
    named = set(re.findall(r"^([\w-]+) (\d+\.\d+\.\S+)$", (ROOT / "THIRD-PARTY-LICENSES").read_text(), re.MULTILINE))
    locked = {(one["name"], one["version"]) for one in tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]}
    assert sorted(named - locked) == [], "run .ci/notices.py"
    crate = ("-p", "daemoneye-eventbus-python", "-e", "normal,no-proc-macro", "--prefix", "none", "-f", "{p}")
    told = subprocess.run(["cargo", "tree", "--locked", *crate], cwd=ROOT, capture_output=True, text=True, check=True)
    linked = {tuple(row.replace(" v", " ", 1).split()[:2]) for row in told.stdout.splitlines()}
    ours = {one for one in linked if one[0].startswith("daemoneye-")}
    assert sorted(linked - ours - named) == [], "run .ci/notices.py"


def test_the_compiler_takes_unsafe_where_a_file_says_why_alone():
    workspace = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]
    assert workspace["lints"]["rust"]["unsafe_code"] == "deny"
    for member in workspace["members"]:
        assert tomllib.loads((ROOT / member / "Cargo.toml").read_text())["lints"] == {"workspace": True}
    for file in sorted((ROOT / "rust").rglob("src/**/*.rs")):
        said = re.findall(r"unsafe_code\b[^)]*", file.read_text())
        name = file.relative_to(ROOT).as_posix()
        assert not said or name.startswith(UNSAFE_ROOMS), name
        assert all("reason" in text for text in said), name


def test_unsafe_stands_where_it_may_and_says_why():
    for file in sorted((ROOT / "rust").rglob("*.rs")):
        name = file.relative_to(ROOT).as_posix()
        if "/src/" not in name or "/fuzz/" in name or "/target/" in name:
            continue
        lines = file.read_text().splitlines()
        for number, line in enumerate(lines):
            code = line.partition("//")[0]
            if re.search(r"\bunsafe\b", code) and "unsafe_code" not in code:
                assert name.startswith(UNSAFE_ROOMS), f"{name}:{number + 1}"
                if re.search(r"\bunsafe\s*\{", code):
                    above = "\n".join(lines[max(0, number - 8) : number])
                    assert "SAFETY" in above + line, f"{name}:{number + 1}"

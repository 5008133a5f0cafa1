"""Every claim in SECURITY.md names a test that exists, and every fault has its program and its row."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
SECURITY = (ROOT / "SECURITY.md").read_text()
FAULTS = sorted((ROOT / "tests" / "faults").glob("test_*.py"))
COUNT = 68


def claims() -> list[list[str]]:
    section = SECURITY.split("## What holds")[1].split("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    return rows[2:]


def test_every_claim_names_a_test_that_exists():
    assert len(claims()) > 15
    for claim in claims():
        named = re.findall(r"`([^`]+)`", claim[-1])
        assert named, claim
        for name in named:
            if not name.startswith("make "):
                assert (ROOT / name).exists(), name


def test_proofs_are_compared_as_hashes():
    """The comparison of `blake3::Hash` takes equally long whatever it compares, which nobody outside can measure."""
    source = (ROOT / "rust/core/src/wire/auth.rs").read_text()
    verifying = re.findall(r"pub fn verify\w*\(.*?\n    }\n", source, re.DOTALL)
    assert len(verifying) == 2
    for function in verifying:
        assert re.search(r"Hash::from_hex\(proof\)\.is_ok_and\(\|proof\| proof == self\.\w+\(", function), function
        assert function.count("==") == 1
    for file in sorted((ROOT / "rust/core/src").rglob("*.rs")):
        if file.name != "auth.rs":
            assert not re.search(r"[=!]= ?\w*\.?(original_)?proof\(", file.read_text()), file


def test_every_fault_of_the_catalogue_has_a_program():
    numbers = [int(file.name[5:7]) for file in FAULTS]
    assert sorted(set(range(1, COUNT + 1)) - set(numbers)) == []
    assert len(numbers) == len(set(numbers)), "two programs for one fault"
    for file in FAULTS:
        said = re.search(r"fault\(\s*(\d+)", file.read_text())
        assert said is not None, file
        assert int(said[1]) == int(file.name[5:7])


def test_the_table_of_faults_in_the_docs_is_theirs():
    told = re.findall(r"^\| (\d+) \|", (ROOT / "docs" / "reliability.md").read_text(), re.MULTILINE)
    assert [int(number) for number in told] == [int(file.name[5:7]) for file in FAULTS]
    assert f"provokes {len(FAULTS)} faults" in (ROOT / "CHANGELOG.md").read_text()

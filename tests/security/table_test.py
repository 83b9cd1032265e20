#!/usr/bin/env python3
"""The table of tests in docs/security.md: T1 to T30 and F1 to F8 are in it, and what it names is there and is run."""

import re
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NAMED = re.compile(r"`([\w./-]+\.(?:c|py)): (\w+)`")
FUZZER = re.compile(r"`(tests/fuzz/fuzz_\w+\.c)`")


def read(path):
    return (ROOT / path).read_text()


def rows():
    """Number of the test → its cell of tests."""
    found = {}
    for line in read("docs/security.md").split("\n## Tests\n", 1)[1].splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if cells and re.fullmatch(r"[TF]\d+", cells[0]):
            assert cells[0] not in found, f"{cells[0]} twice"
            found[cells[0]] = cells[-1]
    return found


class Table(unittest.TestCase):
    def test_all_are_there(self):
        self.assertEqual(set(rows()), {f"T{i}" for i in range(1, 31)} | {f"F{i}" for i in range(1, 9)})

    def test_what_is_named_is_run(self):
        scripts = "".join(read(f"tests/{folder}/CMakeLists.txt") for folder in ("e2e", "security", "interop"))
        for number, cell in rows().items():
            named = NAMED.findall(cell)
            if number[0] == "F":
                fuzzers = FUZZER.findall(cell)
                self.assertTrue(fuzzers, number)
                for path in fuzzers:
                    self.assertTrue((ROOT / path).exists(), path)
                continue
            self.assertTrue(named, f"{number} names no test")
            for path, name in named:
                with self.subTest(number, test=f"{path}: {name}"):
                    text = read(path)
                    if path.endswith(".py"):
                        self.assertIn(f"def {name}(self", text)
                        self.assertIn(Path(path).name, scripts, f"{path} is not run")
                    else:
                        self.assertRegex(text, rf"(unit_test\w*|\bT)\(\s*{name}\b")

    def test_numbers_in_names_are_right(self):
        """A test called t07_… is in row T7, and nowhere else."""
        for number, cell in rows().items():
            for path, name in NAMED.findall(cell):
                said = re.match(r"(?:test_)?t(\d\d)_", name)
                if said:
                    self.assertEqual(f"T{int(said[1])}", number, name)


if __name__ == "__main__":
    unittest.main()

#!/usr/bin/env python3
"""The states that the code tells, the documents that list them, and the tests that make them are the same."""

import re
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STATE = "([a-z]+(?:-[a-z]+)*)"
# Where the code names a state: file, pattern.
SOURCES = [
    ("device/core/engine_status.c", rf'add_text\(\s*out,\s*"{STATE}"'),
    ("device/core/engine_status.c", rf'add_rows\(en, out, [^,"]+,\s*"{STATE}"'),
    ("device/core/engine_status.c", rf'problem_state = code \? "{STATE}"'),
    ("device/core/engine_status.c", rf'problem_state = code \? "[a-z]+" : "{STATE}"'),
    ("device/core/engine_ack.c", rf'return "{STATE}";'),
    ("device/shell/status.c", rf'tell\(r, "{STATE}"'),
]
TEST = re.compile(r"`((?:[\w./-]+/)?\w+\.(?:c|py)): (test_\w+)`")
FILE = re.compile(r"`(tests/[\w./-]+\.c)`")


def read(path):
    return (ROOT / path).read_text()


def table(path, heading):
    """The rows of the first table below a heading, its states split."""
    text = read(path).split(heading, 1)[1]
    rows = {}
    for line in text.splitlines():
        if line.startswith("| `"):
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            for state in re.findall(rf"`{STATE}`", cells[0]):
                rows[state] = cells[1:]
        elif rows:
            break
    return rows


class States(unittest.TestCase):
    def setUp(self):
        self.told = set()
        for path, pattern in SOURCES:
            found = re.findall(pattern, read(path))
            self.assertTrue(found, f"{path} has nothing like {pattern} any more: this test has to learn where states are named now")
            self.told.update(found)
        self.tests = table("docs/states.md", "# States of")

    def test_documents_list_what_the_code_tells(self):
        self.assertGreater(len(self.told), 20)
        self.assertEqual(set(self.tests), self.told, "docs/states.md")
        self.assertEqual(set(table("docs/operations.md", "## States of `neap status`")), self.told, "docs/operations.md")
        for path in ("device/cmd/status.c", "docs/man/neap.1"):
            words = set(re.findall(STATE, re.sub(r'"\n\s*"', "", read(path)).replace("\\-", "-").replace("\\n", " ")))
            # `refused` cannot be made.
            self.assertEqual(self.told - {"refused"} - words, set(), path)

    def test_each_has_tests_that_are_there(self):
        run = read("tests/e2e/CMakeLists.txt")
        for state, (unit, end_to_end) in self.tests.items():
            with self.subTest(state):
                self.assertTrue(TEST.search(unit), "no unit test")
                self.assertTrue(end_to_end or state == "refused", "nothing about end to end")
                for file, name in TEST.findall(unit) + TEST.findall(end_to_end):
                    text = read(file if "/" in file else f"tests/e2e/{file}")
                    if file.endswith(".py"):
                        self.assertTrue(f"def {name}(self" in text and file in run, f"{file}: no {name} is run")
                    else:
                        self.assertTrue(re.search(rf"(unit_test\w*|T)\({name}\b", text), f"{file}: no {name} is run")
                    if state != "refused":
                        self.assertTrue(f'"{state}"' in text, f"{file} does not look for it")
                for file in FILE.findall(end_to_end):
                    self.assertTrue((ROOT / file).exists(), file)


if __name__ == "__main__":
    unittest.main()

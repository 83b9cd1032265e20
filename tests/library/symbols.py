#!/usr/bin/env python3
"""What libneap exports is what neap.h declares, no more and no less. usage: symbols.py neap.h libneap.so libneap.a"""

import re
import subprocess
import sys


def declared(header):
    text = re.sub(r"/\*.*?\*/", "", open(header).read(), flags=re.S)
    return set(re.findall(r"^(?!typedef)\w[\w\s*]*?\b(neap_\w+)\(", text, flags=re.M))


def defined(file, *options):
    out = subprocess.run(["nm", "--defined-only", *options, file], capture_output=True, text=True, check=True).stdout
    fields = [line.split() for line in out.splitlines()]
    # Names of versions (NEAP_0.1) are absolute symbols of type A.
    return {f[-1].split("@")[0] for f in fields if len(f) == 3 and f[1] != "A"}


want = declared(sys.argv[1])
wrong = not {"neap_open", "neap_strerror", "neap_on_change"} <= want
for file, options in ((sys.argv[2], ["-D"]), (sys.argv[3], ["-g"])):
    have = defined(file, *options)
    for name in sorted(want ^ have):
        wrong = True
        print(f"{file}: {name} is {'declared in neap.h but not exported' if name in want else 'exported but not in neap.h'}")
sys.exit(wrong)

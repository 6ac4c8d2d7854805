"""tidy_database.py IN OUT: a compile database that clang-tidy understands, from gcc's.

Drops the precompiled header (it is gcc's own format) and puts the headers it carried back as an include.
"""

import json
import re
import sys

entries = json.load(open(sys.argv[1]))
for entry in entries:
    command = entry["command"].replace("ccache ", "", 1)
    command = re.sub(r"-Winvalid-pch\s+", "", command)
    command = re.sub(r"-include \S*cmake_pch\.hxx", "", command)
    entry["command"] = re.sub(r"\s-fopenmp\b", "", command)
json.dump(entries, open(sys.argv[2], "w"))

"""Prints every row of the Parquet files below a folder, as one JSON object a line, with pyarrow."""
import json
import pathlib
import sys

import pyarrow.parquet as pq

for path in sorted(pathlib.Path(sys.argv[1]).rglob("*.parquet")):
    for row in pq.ParquetFile(path).read().to_pylist():
        print(json.dumps({"file": str(path.relative_to(sys.argv[1])), "row": row}))

"""Makes results.json and a table of the records of the GPU check: python3 bench/gpu/report.py FOLDER. Exit code 1 if any failed."""

import json
import pathlib
import sys


def read(folder):
    records = []
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                records.append(json.loads(line))
            except json.JSONDecodeError:
                records.append(dict(part=path.stem, name="record", failed=f"not JSON: {line[:100]}"))
    return records


def text(record):
    if "failed" in record:
        return f"FAILED: {record['failed']}"
    value = record["value"]
    shown = value if isinstance(value, str) else f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    known = ("part", "name", "value", "unit")
    more = [f"{key} {value:.4g}" for key, value in record.items() if key not in known and isinstance(value, (int, float))]
    return f"{shown} {record['unit']}".strip() + (f" ({', '.join(more)})" if more else "")


def main():
    folder = pathlib.Path(sys.argv[1])
    records = read(folder)
    (folder / "results.json").write_text(json.dumps(records, indent=1) + "\n")
    width = max((len(record["name"]) for record in records), default=0)
    for part in dict.fromkeys(record["part"] for record in records):
        print(f"\n{part}")
        for record in records:
            if record["part"] == part:
                print(f"  {record['name']:<{width}}  {text(record)}")
    failed = sum("failed" in record for record in records)
    print(f"\n{len(records) - failed} results, {failed} failed")
    sys.exit(1 if failed or not records else 0)


main()

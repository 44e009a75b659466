"""Results of the GPU check: one JSON object a line, `part`, `name`, and a value with its unit or the reason why there is none."""

import json


class Records:
    """Writes each record when it is known, so that a part that is cut short leaves what it had."""

    def __init__(self, part, path):
        self.part = part
        self.file = open(path, "a", encoding="utf-8")

    def write(self, name, value, unit="", **more):
        self.put(dict(part=self.part, name=name, value=value, unit=unit, **more))

    def fail(self, name, reason):
        self.put(dict(part=self.part, name=name, failed=str(reason).strip().split("\n")[0][:300]))

    def put(self, record):
        line = json.dumps(record)
        self.file.write(line + "\n")
        self.file.flush()
        print(line, flush=True)

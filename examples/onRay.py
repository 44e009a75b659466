"""Starts a run on the nodes of a Ray cluster, one `launch cluster` per node (docs/guide/launchers.md):

    python onRay.py NODES CPUS --run-dir runs/a --config gpt-small --workers 2

Runs in the folder where it is started, which every node must have, with Lockstep installed in it.
"""
import os
import subprocess
import sys
import tempfile

import ray
from ray.util.placement_group import placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

nodes, cpus, words = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
folder = os.getcwd()
launch = os.path.join(folder, "node_modules", ".bin", "launch")


def read(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()


# Keys of this run, so that the nodes need no disk in common. They travel in Ray's messages.
with tempfile.TemporaryDirectory() as keys:
    subprocess.run([launch, "keys", "--out", keys], check=True, stdout=subprocess.DEVNULL)
    run_key, join_key = (read(os.path.join(keys, name)) for name in ("run.key", "join.key"))

ray.init(address="auto", log_to_driver=True)
group = placement_group([{"CPU": cpus}] * nodes, strategy="STRICT_SPREAD")
ray.get(group.ready())


@ray.remote(num_cpus=cpus)
def run_node(env: dict[str, str]) -> int:
    return subprocess.run([launch, "cluster", *words], cwd=folder, env={**os.environ, **env}).returncode


@ray.remote(num_cpus=0)
def address() -> str:
    return ray.util.get_node_ip_address()


def on(rank: int) -> PlacementGroupSchedulingStrategy:
    return PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=rank)


coordinator = ray.get(address.options(scheduling_strategy=on(0)).remote()) + ":5555"
tasks = [
    # A node that dies is replaced when Ray has another one; node 0 is not, because the others know its address.
    run_node.options(scheduling_strategy=on(rank), max_retries=-1 if rank else 0).remote(
        {
            "LOCKSTEP_NODE_RANK": str(rank),
            "LOCKSTEP_NODES": str(nodes),
            "LOCKSTEP_COORDINATOR": coordinator,
            **({"LOCKSTEP_JOIN_KEY": join_key} if rank else {"LOCKSTEP_RUN_KEY": run_key}),
        }
    )
    for rank in range(nodes)
]
# The run is done when node 0 is; the others end with it.
code = ray.get(tasks[0])
ray.wait(tasks, num_returns=nodes, timeout=60)
sys.exit(code)

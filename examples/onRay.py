"""Starts a run on the nodes of a Ray cluster, one `launch cluster` per node (docs/guide/launchers.md):

    python onRay.py NODES CPUS --run-dir runs/a --config gpt-small --workers 2

Runs in the folder where it is started, which every node must have, with Lockstep installed in it.
"""
import os
import subprocess
import sys
import tempfile
import time

import ray
from ray.util.placement_group import placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

# Seconds in which a node completes its step and writes a checkpoint.
GRACE = 120


def main(nodes: int, cpus: int, words: list[str]) -> int:
    folder = os.getcwd()
    run_key, join_key = make_keys(folder)
    ray.init(address="auto", log_to_driver=True)
    group = placement_group([{"CPU": cpus}] * nodes, strategy="STRICT_SPREAD")
    ray.get(group.ready())
    coordinator = ray.get(address.options(scheduling_strategy=on(group, 0)).remote()) + ":5555"
    tasks = []
    for rank in range(nodes):
        env = {
            "LOCKSTEP_NODE_RANK": str(rank),
            "LOCKSTEP_NODES": str(nodes),
            "LOCKSTEP_COORDINATOR": coordinator,
            **({"LOCKSTEP_JOIN_KEY": join_key} if rank else {"LOCKSTEP_RUN_KEY": run_key}),
        }
        # A node that dies is replaced when Ray has another one; node 0 is not, because the others know its address.
        node = run_node.options(
            num_cpus=cpus, scheduling_strategy=on(group, rank), max_retries=-1 if rank else 0
        )
        tasks.append(node.remote(folder, words, env))
    return wait(tasks)


def make_keys(folder: str) -> tuple[str, str]:
    """Keys of this run, so that the nodes need no disk in common. They travel in Ray's messages."""
    with tempfile.TemporaryDirectory() as keys:
        subprocess.run([launch(folder), "keys", "--out", keys], check=True, stdout=subprocess.DEVNULL)
        return read(os.path.join(keys, "run.key")), read(os.path.join(keys, "join.key"))


def wait(tasks: list) -> int:
    """The run is done when node 0 is; the others end with it, or are asked to."""
    try:
        code = ray.get(tasks[0])
        ray.wait(tasks, num_returns=len(tasks), timeout=60)
        return code
    finally:
        for task in tasks:
            ray.cancel(task)
        ray.wait(tasks, num_returns=len(tasks), timeout=GRACE)


@ray.remote
def run_node(folder: str, words: list[str], env: dict[str, str]) -> int:
    node = subprocess.Popen([launch(folder), "cluster", *words], cwd=folder, env={**os.environ, **env})
    try:
        # Ray interrupts a task that is cancelled, but no system call such as wait, and would leave its processes.
        while node.poll() is None:
            time.sleep(1)
        return node.returncode
    finally:
        node.terminate()
        try:
            node.wait(GRACE)
        except subprocess.TimeoutExpired:
            node.kill()


@ray.remote(num_cpus=0)
def address() -> str:
    return ray.util.get_node_ip_address()


def on(group, rank: int) -> PlacementGroupSchedulingStrategy:
    return PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=rank)


def launch(folder: str) -> str:
    return os.path.join(folder, "node_modules", ".bin", "launch")


def read(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]))

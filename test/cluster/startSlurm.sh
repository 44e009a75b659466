#!/usr/bin/env bash
# A Slurm of four nodes for a test, as the first process of namespaces of its own (network, processes, mounts, host name): the host has
# none of its addresses, files or processes, and all end with this one. Each node is a slurmd with an address of its own.
# Usage: unshare --net --pid --mount --uts --fork --kill-child bash startSlurm.sh FOLDER. Prints "ready".
set -euo pipefail
dir=$1
mkdir -p "$dir"/{state,log,run,munge}
# Without a /proc of the namespace, signals go to other processes.
mount -t proc proc /proc
hostname n0
ip link set lo up
cat /etc/hosts >"$dir/hosts"
for i in 1 2 3 4; do
  ip address add "10.77.0.$i/24" dev lo
  echo "10.77.0.$i n$i" >>"$dir/hosts"
done
echo '10.77.0.1 n0' >>"$dir/hosts"
mount --bind "$dir/hosts" /etc/hosts

cat >"$dir/slurm.conf" <<END
ClusterName=lockstep
SlurmctldHost=n0(10.77.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$dir/run/munge.sock
StateSaveLocation=$dir/state
SlurmctldPidFile=$dir/run/slurmctld.pid
SlurmctldLogFile=$dir/log/slurmctld.log
SlurmdSpoolDir=$dir/spool.%n
SlurmdPidFile=$dir/run/slurmd.%n.pid
SlurmdLogFile=$dir/log/slurmd.%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
SchedulerParameters=sched_interval=1,batch_sched_delay=0
KillWait=5
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
SlurmdTimeout=60
PartitionName=low Nodes=ALL Default=YES PriorityTier=1 PreemptMode=REQUEUE GraceTime=10 MaxTime=INFINITE State=UP
PartitionName=high Nodes=ALL PriorityTier=10 PreemptMode=OFF MaxTime=INFINITE State=UP
END
for i in 1 2 3 4; do
  echo "NodeName=n$i NodeHostname=n0 NodeAddr=10.77.0.$i Port=1700$i CPUs=2 State=UNKNOWN" >>"$dir/slurm.conf"
  mkdir -p "$dir/spool.n$i"
done
export SLURM_CONF=$dir/slurm.conf

head -c 1024 /dev/urandom >"$dir/munge/key"
chmod 600 "$dir/munge/key"
munged --force --key-file="$dir/munge/key" --socket="$dir/run/munge.sock" --pid-file="$dir/run/munged.pid" \
  --log-file="$dir/log/munged.log" --seed-file="$dir/munge/seed" 2>/dev/null
slurmctld -c
for i in 1 2 3 4; do slurmd -N "n$i"; done
until [ "$(sinfo --noheader --states=idle --format=%D 2>/dev/null)" = 4 ]; do sleep 0.1; done
echo ready
exec sleep infinity

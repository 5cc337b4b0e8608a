#!/usr/bin/env bash
# A real Slurm on this machine alone, for tests: one slurmctld and several slurmd, everything in one folder.
#
#     cluster/local_slurm/up.sh FOLDER [NODES [CPUS [MEMORY_MB]]]      defaults: 3 nodes of 2 CPUs and 4000 MB
#
# Each node says it has two GPUs, so that jobs can ask for some; there is nothing behind them.
#
#     export SLURM_CONF=FOLDER/slurm.conf
#
# Needs root and Debian's packages slurm-wlm and munge. Nothing outside FOLDER is configured; a munge daemon that runs is used,
# else one is started on a socket and a key in FOLDER.
set -euo pipefail
[ $# -ge 1 ] || { sed -n '2,11p' "$0"; exit 2; }
nodes=${2:-3} cpus=${3:-2} memory=${4:-4000}
mkdir -p "$1"
folder=$(cd "$1" && pwd -P)
[ -O "$folder" ] && [ -z "$(find "$folder" -maxdepth 0 -perm /022)" ] ||
    { echo "up.sh: $folder is another user's, or others can write there: they would decide what root runs" >&2; exit 1; }
here=$(cd "$(dirname "$0")" && pwd)
for program in slurmctld slurmd sbatch munged; do
    PATH=$PATH:/usr/sbin command -v "$program" >/dev/null || { echo "up.sh: $program is missing: apt-get install slurm-wlm munge" >&2; exit 1; }
done
[ "$(id -u)" = 0 ] || { echo "up.sh: needs root, to start jobs" >&2; exit 1; }
PATH=$PATH:/usr/sbin

# ports that are free now, so that several such Slurms can be up at once
read -r -a ports < <(python3 - "$nodes" <<'PORTS'
import socket, sys
held = []
for _ in range(200):
    held = []
    first = socket.socket(); first.bind(("127.0.0.1", 0)); held.append(first)
    base = first.getsockname()[1]
    try:
        for offset in range(1, int(sys.argv[1]) + 1):
            one = socket.socket(); one.bind(("127.0.0.1", base + offset)); held.append(one)
        print(base, base + 1, base + int(sys.argv[1]))
        break
    except (OSError, OverflowError):
        for one in held: one.close()
else:
    sys.exit("no free ports")
PORTS
)

mkdir -p "$folder/state"
for ((n = 1; n <= nodes; n++)); do mkdir -p "$folder/spool.n$n"; done
auth=cred_expire=5
if ! munge -n >/dev/null 2>&1; then
    # munge insists on folders that nobody else may write, all the way up
    run=$(mktemp -d /run/nbdist-munge.XXXXXX)
    chmod 755 "$run"
    (umask 077 && dd if=/dev/urandom of="$run/key" bs=128 count=1 status=none)
    munged --force --socket="$run/socket" --key-file="$run/key" --pid-file="$run/pid" --log-file="$run/log" --seed-file="$run/seed"
    echo "$run" >"$folder/munge"
    auth="$auth,socket=$run/socket"
fi

cat >"$folder/slurm.conf" <<CONF
ClusterName=local
SlurmctldHost=localhost
SlurmctldPort=${ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=$auth
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool.%n
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.%n.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.%n.log
MailProg=/bin/true
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc=$folder/ended_jobs.log
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=256
SlurmdParameters=config_overrides
GresTypes=gpu
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
ReturnToService=2
SlurmdTimeout=10
KillWait=5
NodeName=n[1-$nodes] NodeHostname=$(hostname -s) NodeAddr=127.0.0.1 Port=[${ports[1]}-${ports[2]}] CPUs=$cpus RealMemory=$memory Gres=gpu:2 State=UNKNOWN
PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF

for device in null zero; do echo "Name=gpu File=/dev/$device"; done >"$folder/gres.conf"

export SLURM_CONF=$folder/slurm.conf
slurmctld
for ((n = 1; n <= nodes; n++)); do slurmd -N "n$n"; done
for _ in $(seq 100); do
    if [ "$(sinfo -h -N -t idle -o %N 2>/dev/null | wc -l)" = "$nodes" ]; then
        echo "up: export SLURM_CONF=$SLURM_CONF"
        exit 0
    fi
    sleep 0.1
done
echo "up.sh: the nodes are not idle after 10 s; see $folder/*.log" >&2
sinfo -N -l >&2 || true
"$here/down.sh" "$folder"
exit 1

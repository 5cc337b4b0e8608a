#!/usr/bin/env bash
# Stop what up.sh started: jobs, daemons, and munge where up.sh started it.      cluster/local_slurm/down.sh FOLDER
set -uo pipefail
[ $# = 1 ] && [ -f "$1/slurm.conf" ] || { echo "down.sh FOLDER: the folder that up.sh was given" >&2; exit 2; }
folder=$(cd "$1" && pwd)
export SLURM_CONF=$folder/slurm.conf
timeout 5 scancel --user="$(id -un)" 2>/dev/null
for _ in $(seq 40); do
    [ -z "$(timeout 5 squeue -h -o %i 2>/dev/null)" ] && break
    sleep 0.1
done
stop() { # end the process whose number is in this file, and wait for it
    [ -f "$1" ] || return 0
    local pid
    pid=$(cat "$1")
    kill "$pid" 2>/dev/null || return 0
    for _ in $(seq 20); do
        # one that has ended may stay in the table until the machine's first process has looked at it
        grep -qs '^State:[[:space:]]*[^Z[:space:]]' "/proc/$pid/status" || return 0
        sleep 0.1
    done
    kill -9 "$pid" 2>/dev/null
}
for file in "$folder/slurmctld.pid" "$folder"/slurmd.*.pid; do stop "$file"; done
if [ -f "$folder/munge" ]; then
    run=$(cat "$folder/munge")
    stop "$run/pid"
    case $run in /run/nbdist-munge.*) rm -rf "$run" ;; esac
fi
exit 0

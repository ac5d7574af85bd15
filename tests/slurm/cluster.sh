#!/bin/sh
# cluster.sh COMMAND...: starts Slurm (munged, slurmctld, slurmd) on this machine in a temporary folder of its own, runs
# COMMAND with SLURM_CONF naming it, stops what it started and leaves with COMMAND's status. Another Slurm or munge on
# the machine is not touched: sockets, key and ports are the cluster's own. Leaves with 77 and a reason when Slurm is
# not installed or this is not root. LIPWB_SLURM_CPUS: how many cores the node says it has (default 2).
set -u
me=$(basename "$0")
skip() { echo "$me: skipped: $*"; exit 77; }
[ $# -gt 0 ] || { echo "usage: $me COMMAND..." >&2; exit 2; }

PATH=$PATH:/usr/sbin:/sbin
for program in munged slurmctld slurmd sbatch squeue scancel scontrol sinfo; do
  command -v $program >/dev/null || skip "$program is not installed (Debian: slurm-wlm slurm-wlm-basic-plugins munge)"
done
[ "$(id -u)" = 0 ] || skip "slurmd must be started by root"

folder=$(mktemp -d) || exit 1
chmod 755 "$folder"
host=$(hostname -s)
cpus=${LIPWB_SLURM_CPUS:-2}
SLURM_CONF=$folder/slurm.conf
export SLURM_CONF
munged='' controller='' node='' command=''

# Daemons end with this script, even if it is killed.
die_with_me=''
setpriv --pdeathsig TERM true 2>/dev/null && die_with_me='setpriv --pdeathsig TERM'

alive() { [ -n "$1" ] && kill -0 "$1" 2>/dev/null; }

# stop PID NAME: asks, waits up to five seconds, then kills
stop() {
  alive "$1" || return 0
  kill -TERM "$1" 2>/dev/null
  for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25; do
    alive "$1" || break
    sleep 0.2
  done
  kill -KILL "$1" 2>/dev/null
  wait "$1" 2>/dev/null
}

# Jobs first: their processes would outlive the daemons.
stop_jobs() {
  alive "$controller" && alive "$node" || return 0
  timeout 5 scancel --user=root 2>/dev/null
  for _ in 1 2 3 4 5 6 7 8 9 10; do
    [ -z "$(timeout 5 squeue -h -t R,CG 2>/dev/null)" ] && return 0
    sleep 0.3
  done
  for pid in $(timeout 5 scontrol listpids 2>/dev/null | awk '$1 ~ /^[0-9]+$/ && $1 > 1 { print $1 }'); do
    kill -KILL "$pid" 2>/dev/null
  done
}

clean() {
  trap '' INT TERM HUP
  alive "$command" && kill -TERM "$command" 2>/dev/null
  stop_jobs
  stop "$node"
  stop "$controller"
  stop "$munged"
  [ -n "${LIPWB_SLURM_KEEP:-}" ] && echo "$me: left $folder" >&2 || rm -rf "$folder"
}
trap 'clean' EXIT
trap 'exit 130' INT TERM HUP

fail() {
  echo "$me: $*" >&2
  for log in munged controller node; do
    [ -f "$folder/$log.log" ] && { echo "-- the end of $log.log:"; tail -n 15 "$folder/$log.log"; } >&2
  done
  exit 1
}

# until_true SECONDS COMMAND...
until_true() {
  tries=$(($1 * 10))
  shift
  while [ $tries -gt 0 ]; do
    "$@" >/dev/null 2>&1 && return 0
    tries=$((tries - 1))
    sleep 0.1
  done
  return 1
}

write_conf() {
  cat >"$SLURM_CONF" <<CONF
ClusterName=lipwb
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$1
SlurmdPort=$(($1 + 1))
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket
CredType=cred/munge
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc=$folder/completed
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SchedulerParameters=sched_interval=1,sched_min_interval=100000,batch_sched_delay=0,bf_interval=1
KillWait=5
MessageTimeout=20
ReturnToService=2
SlurmdParameters=config_overrides
MaxArraySize=10001
MaxJobCount=20000
MpiDefault=none
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/controller.log
SlurmdLogFile=$folder/node.log
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cpus RealMemory=4000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES State=UP PriorityTier=1
PartitionName=urgent Nodes=ALL State=UP PriorityTier=2
CONF
}

start_munge() {
  dd if=/dev/urandom of="$folder/munge.key" bs=128 count=1 2>/dev/null
  chmod 600 "$folder/munge.key"
  $die_with_me munged -F --key-file="$folder/munge.key" --socket="$folder/munge.socket" \
    --pid-file="$folder/munged.pid" --seed-file="$folder/munge.seed" --log-file="$folder/munged.log" >"$folder/munged.out" 2>&1 &
  munged=$!
  until_true 10 test -S "$folder/munge.socket" || fail "munged does not start: $(cat "$folder/munged.out")"
}

idle() { [ "$(timeout 5 sinfo -h -p main -o %T)" = idle ]; }

# The ports may be taken by another program: then both daemons are started again with others.
start_slurm() {
  for attempt in 1 2 3; do
    write_conf $((20000 + ($$ * 7 + attempt * 1009) % 10000 * 2))
    rm -rf "$folder/state" "$folder/spool"
    mkdir "$folder/state" "$folder/spool"
    $die_with_me slurmctld -D -f "$SLURM_CONF" >>"$folder/controller.out" 2>&1 &
    controller=$!
    $die_with_me slurmd -D -N "$host" -f "$SLURM_CONF" >>"$folder/node.out" 2>&1 &
    node=$!
    tries=150
    while [ $tries -gt 0 ] && alive "$controller" && alive "$node"; do
      idle && return 0
      tries=$((tries - 1))
      sleep 0.1
    done
    stop "$node"
    stop "$controller"
  done
  fail "Slurm does not start"
}

start_munge
start_slurm
# before whoever waits for this script loses patience and kills it
$die_with_me timeout -k 10 "${LIPWB_SLURM_SECONDS:-240}" "$@" &
command=$!
wait "$command"
exit $?

# usage: run LIFELINE RUN WHERE
#   LIFELINE  `stdin`: end the phase when standard input ends; `lock`: end it when the builder releases the lock of `alive`,
#             even if the process that started this script is gone; `none`: no lifeline
#   RUN       the number of earlier runs of this job by a cluster
#   WHERE     the name of the node; default: the host's
{ # The braces make the shell read the whole script before it runs any of it, so that the file may be deleted meanwhile.
set -u
lifeline=$1 run=$2 where=${3:-$HOSTNAME}
umask 022

# finish OUTCOME STATUS: writes the result for the builder, whole or not at all, and exits.
finish() {
    printf '%s\n' "$1" "host $where" "run $run" > "$job/result.$run.new" &&
        mv -f -- "$job/result.$run.new" "$job/result"
    exit "$2"
}

# A descriptor that never has input, to wait on without starting a process.
exec {never}<> <(:)
watch=$never
if [[ $lifeline == stdin ]]; then
    exec {watch}<&0 < /dev/null
elif [[ $lifeline == lock ]]; then
    # The process that started this may end while the phase runs, so the output must not depend on it.
    exec < /dev/null >> "$job/output" 2>&1 || exit 74
    # `flock` ends when the builder dies or releases the lock. It waits in the kernel, and holds no descriptor of the phase.
    exec {watch}< <(exec flock --shared "$job/alive" true 2> /dev/null)
fi
stopping=0
trap 'stopping=1' TERM HUP INT

# pause SECONDS: waits that long, or until the lifeline ends.
pause() {
    local status=0
    read -r -t "$1" -u "$watch" || status=$?
    # A status above 128 means that the time is up, a lower one that the input ended.
    if ((status != 0 && status <= 128)); then
        watch=$never stopping=1
    fi
}

# stopped: ends this run without a result.
stopped() {
    [[ $lifeline == none ]] || sweep
    : > "$job/over"
    exit 143
}

# end_group: asks every process of the phase's group to end, and kills those that do not within the grace period.
end_group() {
    local left
    kill -TERM -- "-$pid" 2> /dev/null || return 0
    for ((left = grace * 20; left > 0; left--)); do
        kill -0 -- "-$pid" 2> /dev/null || return 0
        pause 0.05
    done
    kill -KILL -- "-$pid" 2> /dev/null
    for ((left = 40; left > 0; left--)); do
        kill -0 -- "-$pid" 2> /dev/null || return 0
        pause 0.05
    done
}

# Two runs of a phase must never overlap: a lost run may still be alive on an unreachable host.
exec 9>> "$lock" || exit 74
until flock -n 9; do
    ((SECONDS > 0)) || echo "stx-builds: an earlier run of this phase still runs; waiting for its end"
    ((stopping == 0)) || exit 143
    ((SECONDS < patience)) || finish "not-started an earlier run of the phase still holds $lock" 75
    pause 1
done
# The earlier run has a result after all; keep it.
[[ ! -e $job/result ]] || exit 0
if [[ $lifeline == lock ]]; then
    # Too late to start: the builder is gone, or no longer wants the phase. From here on, the builder waits for the lock above.
    ! flock --nonblock --shared "$job/alive" true || exit 143
    : > "$job/began"
fi
# A cluster ends leftover processes of a job itself.
if [[ $lifeline != none ]]; then
    # An earlier run may have lost its shell, and the lock with it.
    sweep || finish "not-started processes of an earlier run of the phase cannot be ended" 75
fi

cd -- "$work" 2> /dev/null || finish "not-started $where cannot enter $work" 72
(
    PATH=$path
    type -P -- "$program" > /dev/null
) || finish "not-started $program is not in PATH on $where" 127

# Job control gives the phase a process group of its own.
set -m
(
    exec 9>&- {never}<&-
    [[ $lifeline == none ]] || exec {watch}<&-
    phase
) < /dev/null &
pid=$!
# The output belongs to the phase: discard this shell's messages about the end of its child.
exec 2> /dev/null
wait=0.02
for ((polls = 0; ; polls++)); do
    kill -0 "$pid" 2> /dev/null || break
    if ((stopping)); then
        end_group
        stopped
    fi
    ((polls < 100)) || wait=0.2
    pause "$wait"
done
# The shell reports the same status for `exit 137` and for a kill; its list of jobs tells them apart.
listed=$(jobs -l)
code=0
wait "$pid" || code=$?
end_group
# A cluster that ends a job signals both the phase and this shell; the phase may end before this shell gets its signal.
[[ $lifeline != none ]] || pause 0.1
((stopping == 0)) || stopped
# A process that holds the output open keeps a connection open, even long after the phase is over.
[[ $lifeline == none ]] || sweep
if ((code > 128)) && [[ $listed != *"Exit $code "* ]]; then
    finish "signal $((code - 128))" "$code"
fi
finish "exit $code" "$code"
}

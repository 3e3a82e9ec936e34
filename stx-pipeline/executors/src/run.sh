# usage: run LIFELINE RUN WHERE
#   LIFELINE  `stdin`: to be ended when standard input ends; `lock`: when the builder releases the lock of `alive`, whatever
#             becomes of the process that started this; `none`
#   RUN       how often a cluster started this job before
#   WHERE     the name of the node; default: the host's
{ # A shell reads all of it before it starts, so that the file may go while it runs.
set -u
lifeline=$1 run=$2 where=${3:-$HOSTNAME}
umask 022

# finish OUTCOME STATUS: the one line that the builder goes by, there at once or not at all.
finish() {
    printf '%s\n' "$1" "host $where" "run $run" > "$job/result.$run.new" &&
        mv -f -- "$job/result.$run.new" "$job/result"
    exit "$2"
}

# A descriptor that never has anything to read, for waiting without a process.
exec {never}<> <(:)
watch=$never
if [[ $lifeline == stdin ]]; then
    exec {watch}<&0 < /dev/null
elif [[ $lifeline == lock ]]; then
    # Whoever started this may end while the phase goes on, so that its output cannot go there.
    exec < /dev/null >> "$job/output" 2>&1 || exit 74
    # This ends when the builder does, or lets go. It waits in the kernel, and holds nothing of the phase's.
    exec {watch}< <(exec flock --shared "$job/alive" true 2> /dev/null)
fi
stopping=0
trap 'stopping=1' TERM HUP INT

# pause SECONDS: or less, when the lifeline breaks.
pause() {
    local status=0
    read -r -t "$1" -u "$watch" || status=$?
    # Above 128 it was the time that ended, below it the input.
    if ((status != 0 && status <= 128)); then
        watch=$never stopping=1
    fi
}

# stopped: ends this run, which has no result.
stopped() {
    [[ $lifeline == none ]] || sweep
    : > "$job/over"
    exit 143
}

# end_group: asks every process of the phase's group to end, and kills what does not within the grace.
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

# Two runs of a phase never go on side by side: one that was given up may live on where nobody reaches it.
exec 9>> "$lock" || exit 74
until flock -n 9; do
    ((SECONDS > 0)) || echo "stx-builds: an earlier run of this phase goes on, waiting for its end"
    ((stopping == 0)) || exit 143
    ((SECONDS < patience)) || finish "not-started an earlier run of the phase still holds $lock" 75
    pause 1
done
# The earlier run came to its end after all.
[[ ! -e $job/result ]] || exit 0
if [[ $lifeline == lock ]]; then
    # Too late to start: the builder is gone, or wants the phase no more. From here on it waits for the lock above.
    ! flock --nonblock --shared "$job/alive" true || exit 143
    : > "$job/began"
fi
# A cluster ends what a job left itself.
if [[ $lifeline != none ]]; then
    # An earlier run may have lost its shell, and its lock with it.
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
# The output is the phase's: no word of a shell's on how its child ended.
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
# A shell gives the same number for `exit 137` and for a kill; its list of jobs tells them apart.
listed=$(jobs -l)
code=0
wait "$pid" || code=$?
end_group
# A cluster that ends a job signals the phase and this shell; the phase may be the faster one.
[[ $lifeline != none ]] || pause 0.1
((stopping == 0)) || stopped
# What holds the output keeps a connection open, however long the phase is over.
[[ $lifeline == none ]] || sweep
if ((code > 128)) && [[ $listed != *"Exit $code "* ]]; then
    finish "signal $((code - 128))" "$code"
fi
finish "exit $code" "$code"
}

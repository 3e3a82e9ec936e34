# above PID: prints the process and its ancestors, the process first.
above() {
    local pid=$1 stat
    while ((pid > 0)); do
        printf '%s\n' "$pid"
        { read -r stat < "/proc/$pid/stat"; } 2> /dev/null || return 0
        # State and parent follow the name, which is in parentheses.
        read -r _ pid _ <<< "${stat##*) }"
    done
}

# environment PID: stores the environment that a process was started with in `env`; false if the process is gone or may not be
# read. The kernel shows an empty environment while `execve` replaces the program, and once more to a reader that opened the
# file before that. An empty one counts only if it is read twice while the kernel knows its address (`env_start`, proc(5)).
environment() {
    local stat fields settled=0 left
    for ((left = 1000; left > 0; left--)); do
        { mapfile -d '' -t env < "/proc/$1/environ"; } 2> /dev/null || return 1
        ((${#env[@]} == 0)) || return 0
        { read -r stat < "/proc/$1/stat"; } 2> /dev/null || return 1
        read -ra fields <<< "${stat##*) }"
        # A process without memory has ended, or is a thread of the kernel.
        [[ ${fields[20]-0} != 0 ]] || return 1
        if [[ ${fields[47]-0} == 0 ]]; then
            settled=0
            sleep 0.001
        elif ((settled++)); then
            return 0
        fi
    done
    return 1
}

# strays: prints the processes that a phase left in the workspace; those of every phase if $stray is empty. The variables that a
# process was started with identify it, whatever group, session and parent it has now.
strays() {
    local pid own env variable here phase client
    [[ -n $workspace ]] || return 0
    # If processes of the build server are visible here, spare the client that started this script. It is not always an
    # ancestor: over `ssh` to the same machine it is not.
    own=" $(above $$ | tr '\n' ' ')"
    for pid in /proc/[0-9]*; do
        pid=${pid#/proc/}
        environment "$pid" || continue
        here=0 phase=0 client=0
        for variable in "${env[@]}"; do
            case $variable in
                "MY_WORKSPACE=$workspace") here=1 ;;
                STX_CLIENT=*) client=1 ;;
                PHASE=?*) [[ -n $stray && $variable != "PHASE=$stray" ]] || phase=1 ;;
            esac
        done
        ((here && phase && !client)) && [[ $own != *" $pid "* ]] && printf '%s\n' "$pid"
    done
}

# sweep: asks the strays to end, and kills those that do not within the grace period; false if some are left.
sweep() {
    local left pid
    local -A asked=()
    for ((left = grace * 10; left > -50; left--)); do
        mapfile -t pids < <(strays)
        ((${#pids[@]})) || return 0
        for pid in "${pids[@]}"; do
            if ((left <= 0)); then
                kill -KILL "$pid" 2> /dev/null
            elif [[ -z ${asked[$pid]-} ]]; then
                asked[$pid]=1
                kill -TERM "$pid" 2> /dev/null
            fi
        done
        sleep 0.1
    done
    return 1
}

# above PID: the processes that it descends from, itself the first.
above() {
    local pid=$1 stat
    while ((pid > 0)); do
        printf '%s\n' "$pid"
        { read -r stat < "/proc/$pid/stat"; } 2> /dev/null || return 0
        # What follows the name, which is in parentheses: the state and the parent.
        read -r _ pid _ <<< "${stat##*) }"
    done
}

# strays: the processes that a phase left in the workspace, or every phase where $stray is empty. They are known by the
# variables that they were started with, whatever group, session and parent they have now.
strays() {
    local file pattern="PHASE=${stray:-..*}" own
    [[ -n $workspace ]] || return 0
    # Where processes of the build server are seen, the client that started this is not one.
    own=" $(above $$ | tr '\n' ' ')"
    grep -lszxF -e "MY_WORKSPACE=$workspace" /proc/[0-9]*/environ 2> /dev/null |
        while read -r file; do
            if grep -qszx -e "$pattern" "$file" 2> /dev/null; then
                file=${file#/proc/}
                [[ $own == *" ${file%/environ} "* ]] || printf '%s\n' "${file%/environ}"
            fi
        done
}

# sweep: asks the strays to end, and kills those that do not within the grace; false if some are left.
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

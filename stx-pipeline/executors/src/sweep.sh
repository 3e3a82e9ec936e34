# strays: the processes that a phase left in the workspace, or every phase where $stray is empty. They are known by the
# variables that they were started with, whatever group, session and parent they have now.
strays() {
    local file pattern="PHASE=${stray:-..*}"
    [[ -n $workspace ]] || return 0
    grep -lszxF -e "MY_WORKSPACE=$workspace" /proc/[0-9]*/environ 2> /dev/null |
        while read -r file; do
            if grep -qszx -e "$pattern" "$file" 2> /dev/null; then
                file=${file#/proc/}
                printf '%s\n' "${file%/environ}"
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

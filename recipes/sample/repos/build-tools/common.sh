# shellcheck shell=bash
# What the build tools share; sourced first by each of them.
set -euo pipefail
umask 022
export LC_ALL=C.UTF-8
export PATH="$PATH:/usr/sbin:/sbin"

tool=${0##*/}

say() { echo "$tool: $*"; }

die() {
    echo "$tool: $*" >&2
    exit 1
}

# enter_build: checks the variables of a build phase, and keeps the user's own
# settings (of rpm, pip, git and so on) out of the build.
enter_build() {
    local variable
    for variable in MY_REPO_ROOT MY_WORKSPACE BRANCH DISTRO PHASE; do
        [[ -n ${!variable:-} ]] || die "$variable is not set: this runs as a phase of a build (stx-builds build)"
    done
    root=$MY_REPO_ROOT/cgcs-root
    # shellcheck disable=SC2034 # for the tools that source this
    tools=$root/build-tools
    work=$MY_WORKSPACE/tmp/$PHASE
    rm -rf "$work"
    mkdir -p "$work"
    export HOME=$work/home
    mkdir "$HOME"
    export TMPDIR=$work
    unset SOURCE_DATE_EPOCH
    # git is not to take a broken source tree for a part of the repository around it.
    export GIT_CEILING_DIRECTORIES=$MY_REPO_ROOT
}

# use_date SECONDS...: the newest of these is the date of what is made from now on.
#
# An artifact is as old as what it is made of, not as the newest commit of all: so
# what did not change between two builds is the same file in both.
use_date() {
    SOURCE_DATE_EPOCH=$(printf '%s\n' "$@" | sort -n | tail -n 1)
    [[ $SOURCE_DATE_EPOCH =~ ^[0-9]+$ ]] || die "no date among: $*"
    export SOURCE_DATE_EPOCH
}

# dates_of DIR...: when each directory was last changed, by its git.
dates_of() {
    local dir
    for dir in "$@"; do
        git -c 'safe.directory=*' -C "$dir" log -1 --format=%ct -- .
    done
}

# dates_of_rpms FILE...
dates_of_rpms() { rpm -qp --qf '%{BUILDTIME}\n' "$@"; }

# listed FILE: the lines of FILE without comments and empty lines.
listed() {
    [[ -f $1 ]] || die "no list $1"
    sed -e 's/#.*//' -e 's/[[:space:]]*$//' -e '/^$/d' "$1"
}

# listed_dirs LIST: the directories that the file LIST of every git names.
listed_dirs() {
    local list dir found=
    for list in "$root"/*/"$1" "$root"/stx/*/"$1"; do
        [[ -f $list ]] || continue
        for dir in $(listed "$list"); do
            [[ -d ${list%/*}/$dir ]] || die "$list names $dir, which is not there"
            echo "${list%/*}/$dir"
            found=yes
        done
    done
    [[ -n $found ]] || die "no git below $root has anything in a file $1"
}

# age DIR: gives everything in DIR the date in use.
age() {
    find "$1" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
}

# rpm_named NAME DIR...: the one RPM of that name in the directories.
rpm_named() {
    local name=$1 file found=()
    shift
    for file in $(find "$@" -name "$name-*.rpm" ! -name '*src.rpm' | sort); do
        [[ $(rpm -qp --qf '%{NAME}' "$file") == "$name" ]] && found+=("$file")
    done
    ((${#found[@]} == 1)) || die "${#found[@]} packages called $name in $*, there has to be one"
    echo "${found[0]}"
}

# unpack_rpm FILE DIR
unpack_rpm() {
    mkdir -p "$2"
    (cd "$2" && rpm2cpio "$1" | cpio --quiet -idmu --no-absolute-filenames) || die "cannot unpack $1 into $2"
}

# check_closed FILE...: nothing that these RPMs require is missing among them.
check_closed() {
    local on_debian=()
    [[ ! -f /etc/debian_version ]] || on_debian=(--force-debian)
    rpm "${on_debian[@]}" --dbpath "$work/rpmdb" -i --test --ignoresize "$@" ||
        die "the packages above require what none of the selected ones provides; add it to the list or to a spec file"
}

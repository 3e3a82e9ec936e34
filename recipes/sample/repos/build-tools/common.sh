# shellcheck shell=bash
# Functions that the build tools share; each of them sources this file first.
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
    # With this, git does not treat a broken source tree as a part of a repository above it.
    export GIT_CEILING_DIRECTORIES=$MY_REPO_ROOT
}

# use_date SECONDS...: sets the date of later artifacts to the newest of these.
#
# An artifact has the date of its own sources, not that of the newest commit of all, so
# that unchanged artifacts of two builds are the same file.
use_date() {
    SOURCE_DATE_EPOCH=$(printf '%s\n' "$@" | sort -n | tail -n 1)
    [[ $SOURCE_DATE_EPOCH =~ ^[0-9]+$ ]] || die "no date among: $*"
    export SOURCE_DATE_EPOCH
}

# dates_of DIR...: the time of the last commit to each directory.
dates_of() {
    local dir
    for dir in "$@"; do
        git -c 'safe.directory=*' -C "$dir" log -1 --format=%ct -- .
    done
}

# dates_of_rpms FILE...: the build times of packages.
dates_of_rpms() { rpm -qp --qf '%{BUILDTIME}\n' "$@"; }

# listed FILE: the lines of FILE without comments and empty lines.
listed() {
    [[ -f $1 ]] || die "no list $1"
    sed -e 's/#.*//' -e 's/[[:space:]]*$//' -e '/^$/d' "$1"
}

# listed_dirs LIST: the directories that the files LIST of all repositories list.
listed_dirs() {
    local list dir found=
    for list in "$root"/*/"$1" "$root"/stx/*/"$1"; do
        [[ -f $list ]] || continue
        for dir in $(listed "$list"); do
            [[ -d ${list%/*}/$dir ]] || die "$list names $dir, which does not exist"
            echo "${list%/*}/$dir"
            found=yes
        done
    done
    [[ -n $found ]] || die "no repository below $root lists a directory in a file $1"
}

# age DIR: sets the times of all files in DIR to the date of use_date.
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
    ((${#found[@]} == 1)) || die "${#found[@]} packages called $name in $*, expected one"
    echo "${found[0]}"
}

# unpack_rpm FILE DIR: unpacks a package into DIR.
unpack_rpm() {
    mkdir -p "$2"
    (cd "$2" && rpm2cpio "$1" | cpio --quiet -idmu --no-absolute-filenames) || die "cannot unpack $1 into $2"
}

# check_closed FILE...: fails unless these RPMs provide all their requirements.
check_closed() {
    local on_debian=()
    [[ ! -f /etc/debian_version ]] || on_debian=(--force-debian)
    rpm "${on_debian[@]}" --dbpath "$work/rpmdb" -i --test --ignoresize "$@" ||
        die "the packages above require what none of the selected ones provides; add it to the list or to a spec file"
}

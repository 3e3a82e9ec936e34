# shellcheck shell=bash
# Functions that build and unpack Debian packages: sourced after common.sh.

# as_root COMMAND...: runs COMMAND as root in namespaces of its own, without network. Its
# mounts and processes end with it. For an ordinary user, the namespace maps root and the
# users of /etc/subuid.
as_root() {
    local enter=(unshare --mount --pid --net --fork --kill-child)
    ((EUID == 0)) || enter+=(--map-root-user --map-auto)
    "${enter[@]}" "$@"
}

# dates_of_debs FILE...: the date in the header of each package's first member, which
# dpkg-deb takes from SOURCE_DATE_EPOCH.
dates_of_debs() {
    local file
    for file in "$@"; do
        dd if="$file" bs=1 skip=24 count=12 status=none
        echo
    done
}

# deb_named NAME DIR...: the one package of that name in the directories.
deb_named() {
    local name=$1 found
    shift
    mapfile -t found < <(find "$@" -name "${name}_*deb" | sort)
    ((${#found[@]} == 1)) || die "${#found[@]} packages called $name in $*, expected one"
    echo "${found[0]}"
}

# index_debs DIR: makes DIR a flat repository.
index_debs() { (cd "$1" && apt-ftparchive packages . > Packages); }

# closure DIR DIR PACKAGE...: the files in two flat repositories that apt would install
# into an empty system to have the packages.
closure() {
    local empty=$work/apt ours=$1 theirs=$2 dir
    shift 2
    for dir in "$ours" "$theirs"; do
        index_debs "$dir"
    done
    mkdir -p "$empty"/{lists/partial,cache/archives/partial,parts}
    : > "$empty/status"
    printf 'deb [trusted=yes] file:%s ./\n' "$ours" "$theirs" > "$empty/sources.list"
    local apt=(apt-get -q -y -o Dir::Etc="$empty" -o Dir::Etc::parts="$empty/parts" -o Dir::State::lists="$empty/lists"
        -o Dir::State::status="$empty/status" -o Dir::Cache="$empty/cache" -o APT::Sandbox::User=
        -o APT::Architecture=amd64 -o APT::Architectures::=amd64)
    "${apt[@]}" update > "$empty/log" 2>&1 &&
        "${apt[@]}" --no-install-recommends --print-uris install "$@" > "$empty/uris" 2> "$empty/log" || {
        cat "$empty/log" >&2
        die "apt cannot install $* from $ours and $theirs"
    }
    # apt prints URLs, which contain %2b for +.
    sed -n "s,^'file:\(/[^']*\)'.*,\1,p" "$empty/uris" | sed 's,/\./,/,; s/%/\\x/g' | sort | while read -r dir; do
        printf '%b\n' "$dir"
    done
}

#!/usr/bin/env bash
# Makes a .deb and an .rpm of a binary of stx-builds.
#
#   scripts/packages.sh [--fast] BINARY DIR
#
# BINARY itself generates the man pages and completions, so it must run here. The packages are written to DIR; --fast compresses less,
# for tests. The same binary and the same commit give the same bytes: times are those of SOURCE_DATE_EPOCH, by default the last
# commit's. DEBFULLNAME and DEBEMAIL set the packager, by default the last commit's author.
set -euo pipefail
umask 022
export LC_ALL=C.UTF-8 TZ=UTC

die() {
    echo "packages: $*" >&2
    exit 1
}

deb_compression='-Zxz -z6' rpm_payload=w6.xzdio
if [[ ${1-} == --fast ]]; then
    deb_compression='-Zgzip -z1' rpm_payload=w1.gzdio
    shift
fi
(($# == 2)) || die "usage: scripts/packages.sh [--fast] BINARY DIR"
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
binary=$(realpath -e "$1")
mkdir -p "$2"
out=$(realpath -e "$2")
for tool in dpkg-buildpackage dh rpmbuild strip git cargo; do
    [[ -n $(type -P "$tool") ]] || die "$tool is missing: scripts/setup.sh packages"
done

last_commit() { git -C "$here" log -1 --format="$1"; }
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(last_commit %ct)}
at() { date -u -d "@$SOURCE_DATE_EPOCH" "+$1"; }
maintainer="${DEBFULLNAME:-$(last_commit %an)} <${DEBEMAIL:-$(last_commit %ae)}>"
# A version such as 0.2.0-rc.1 sorts before 0.2.0.
version=$("$binary" --version)
version=${version#stx-builds }
version=${version/-/\~}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The files to package.
tree=$work/stx-builds-$version
mkdir -p "$tree/completions"
install -m 0755 "$binary" "$tree/stx-builds"
strip --strip-unneeded "$tree/stx-builds"
cd "$tree"
./stx-builds --now "$(at %Y%m%dT%H%M%SZ)" --quiet manual --to man > "$work/pages"
./stx-builds completions bash > completions/stx-builds
./stx-builds completions zsh > completions/_stx-builds
./stx-builds completions fish > completions/stx-builds.fish
install -m 0644 "$here/stx-cli/src/commands/manual/sample.toml" stx-builds.toml
install -m 0644 "$here"/packaging/{stx-builds.service,sysusers.conf,tmpfiles.conf} .
install -m 0644 "$here"/{CHANGELOG.md,LICENSE} .
# Only files that git tracks.
(cd "$here" && git ls-files -z ':(glob)recipes/*.toml' ':(glob)recipes/shared/*.toml' docs | tar -c --null --files-from=-) | tar -x --no-same-permissions
(cd "$here" && cargo tree --quiet --locked --package stx-cli --features full --edges normal,no-proc-macro --prefix none --no-dedupe --format '{l}: {p}') |
    sed -E 's/ \(.*\)$//' | LC_ALL=C sort -u > LICENSES-OF-CRATES

# The .deb.
cp -R "$here/packaging/debian" debian
cp stx-builds.service sysusers.conf tmpfiles.conf debian/
cd debian
mv sysusers.conf stx-builds.sysusers
mv tmpfiles.conf stx-builds.tmpfiles
sed -i "s/@MAINTAINER@/$maintainer/" control
cat > changelog << END
stx-builds ($version-1) unstable; urgency=medium

  * See /usr/share/doc/stx-builds/CHANGELOG.md.

 -- $maintainer  $(at '%a, %d %b %Y %H:%M:%S +0000')
END
cd "$tree"
DEB_COMPRESSION=$deb_compression dpkg-buildpackage --build=binary --unsigned-changes --no-check-builddeps > "$work/deb.log" 2>&1 || {
    cat "$work/deb.log" >&2
    die "the .deb could not be made"
}
rm -r debian

# The .rpm.
rpmbuild -bb --quiet --nodeps \
    --define "_topdir $work/rpm" \
    --define "tree $tree" \
    --define "tree_version $version" \
    --define "tree_date $(at '%a %b %d %Y')" \
    --define "tree_maintainer $maintainer" \
    --define "_binary_payload $rpm_payload" \
    --define "_buildhost localhost" \
    --define "use_source_date_epoch_as_buildtime 1" \
    --define "clamp_mtime_to_source_date_epoch 1" \
    "$here/packaging/rpm/stx-builds.spec" > "$work/rpm.log" 2>&1 || {
    cat "$work/rpm.log" >&2
    die "the .rpm could not be made"
}

mv "$work"/stx-builds_*.deb "$work"/rpm/RPMS/*/*.rpm "$out/"
cd "$out"
ls stx-builds[_-]"$version"*

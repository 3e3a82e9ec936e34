# shellcheck shell=bash disable=SC2154
# The files that the programs of the rehearsal make: a few bytes each, with the real names and in the real places.
# Sourced by `call`, which has `here`, `state` and the expectations.

# put FILE...: makes files of some bytes each.
put() {
    local file
    for file; do
        mkdir -p "${file%/*}"
        printf 'rehearsed %s\n' "${file##*/}" > "$file"
    done
}

# git_tree DIR FILE TEXT: makes a work tree with one commit.
git_tree() {
    [[ ! -e $1/.git ]] || return 0
    mkdir -p "$1/$(dirname "$2")"
    printf '%s\n' "$3" > "$1/$2"
    git -C "$1" init -q -b work
    git -C "$1" add .
    GIT_AUTHOR_DATE='2020-01-01T00:00:00Z' GIT_COMMITTER_DATE='2020-01-01T00:00:00Z' \
        git -C "$1" -c user.name=Author -c user.email=author@example.org commit -q -m "$1"
}

# option NAME WORD...: prints the value of `--NAME VALUE` or `--NAME=VALUE`.
option() {
    local name=--$1
    shift
    while (($#)); do
        case $1 in
            "$name") printf '%s' "$2"; return ;;
            "$name"=*) printf '%s' "${1#*=}"; return ;;
        esac
        shift
    done
}

# blob LAYOUT KIND FILE: moves a file into an image layout, and prints its descriptor.
blob() {
    local digest size
    digest=$(sha256sum < "$3") size=$(stat -c %s "$3")
    mv "$3" "$1/blobs/sha256/${digest%% *}"
    printf '{"mediaType":"application/vnd.oci.image.%s","digest":"sha256:%s","size":%s}' "$2" "${digest%% *}" "$size"
}

# push IMAGE TEXT: pushes an image with a layer that contains a text. Like the real builders with `--attempts=3`, it tries three
# times: docker-registry refuses a manifest while another client writes the same layer of the repository.
push() {
    local layout layer config left
    layout=$(mktemp -d)
    mkdir -p "$layout/blobs/sha256"
    printf '%s\n' "$2" > "$layout/message"
    tar --create --file "$layout/layer" --directory "$layout" --mtime @0 --owner root:0 --group root:0 --mode 644 message
    printf '{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
        "$(sha256sum < "$layout/layer" | cut -d' ' -f1)" > "$layout/config"
    layer=$(blob "$layout" layer.v1.tar "$layout/layer")
    config=$(blob "$layout" config.v1+json "$layout/config")
    printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":%s,"layers":[%s]}' \
        "$config" "$layer" > "$layout/manifest"
    printf '{"schemaVersion":2,"manifests":[%s]}' "$(blob "$layout" manifest.v1+json "$layout/manifest")" > "$layout/index.json"
    printf '{"imageLayoutVersion":"1.0.0"}' > "$layout/oci-layout"
    for ((left = 2; ; left--)); do
        ! skopeo --insecure-policy copy --quiet --dest-tls-verify=false "oci:$layout" "docker://$1" || break
        ((left > 0)) || return 1
        sleep 1
    done
    rm -r "$layout"
}

# has_image IMAGE: succeeds if the image is on the registry.
has_image() {
    skopeo inspect --raw --tls-verify=false "docker://$1" > /dev/null
}

# push_listed LIST IMAGE OPTION...: pushes the versioned image and, with the option --latest, the latest one, as build-stx-images.sh
# does, and adds the names to the lists whose names begin with LIST.
push_listed() {
    local list=$1 image=$2 tag suffix
    local -A suffixes=([versioned]=$TIMESTAMP.0)
    [[ " ${*:3} " != *" --latest "* ]] || suffixes[latest]=latest
    mkdir -p "${list%/*}"
    for tag in "${!suffixes[@]}"; do
        suffix=${suffixes[$tag]}
        push "$image-$suffix" "$image"
        echo "$image-$suffix" >> "$list-$tag.lst"
    done
}

# program WHERE FILE...: makes programs of the server, or of the pod.
program() {
    local file where=$1
    shift
    for file; do
        mkdir -p "${file%/*}"
        # shellcheck disable=SC2016 # for the program's own shell
        printf '#!/bin/bash\nexec %q/call --as "${0##*/}" "$@"\n' "$where" > "$file"
        chmod 755 "$file"
    done
}

# deb DIR NAME VERSION [TEXT]: makes a package that apt can read.
deb() {
    local work
    work=$(mktemp -d)
    mkdir -p "$work/DEBIAN" "$work/usr/share/$2" "$1"
    echo "${4-rehearsed}" > "$work/usr/share/$2/file"
    printf '%s\n' "Package: $2" "Version: $3" "Architecture: amd64" "Maintainer: Builder <builder@example.org>" \
        "Description: rehearsed" > "$work/DEBIAN/control"
    dpkg-deb --root-owner-group -Znone --build "$work" "$1/$2_${3#*:}_amd64.deb" > /dev/null
    rm -r "$work"
}

# dsc DIR NAME VERSION: makes a source package.
dsc() {
    put "$1/$2_${3%-*}.orig.tar.xz" "$1/$2_$3.debian.tar.xz"
    {
        printf '%s\n' "Format: 3.0 (quilt)" "Source: $2" "Binary: $2" "Architecture: amd64" "Version: $3" \
            "Maintainer: Builder <builder@example.org>" "Checksums-Sha256:"
        local file
        for file in "$1/$2_${3%-*}.orig.tar.xz" "$1/$2_$3.debian.tar.xz"; do
            printf ' %s %s %s\n' "$(sha256sum < "$file" | cut -d' ' -f1)" "$(stat -c %s "$file")" "${file##*/}"
        done
    } > "$1/$2_$3.dsc"
}

make_repo() {
    case $1 in
        init) git_tree .repo/manifests default.xml '<manifest/>' ;;
        forall) [[ ! -e .repo/done ]] || find . -name .git -not -path './.repo/*' -printf '%P\n' | sed 's|/\.git$||' ;;
        sync)
            "make_sources_$KIND"
            touch .repo/done
            ;;
    esac
}

make_sources_debian() {
    git_tree stx-tools "debian-mirror-tools/config/debian/$CODENAME/common/base-$CODENAME.yaml" 'EFI_SECURE_BOOT: disable'
    # These programs are in the work tree only in the rehearsal; git must not report them as changes.
    printf '%s\n' /import-stx /stx-init-env /stx /stx.conf >> stx-tools/.git/info/exclude
    program "$here" stx-tools/stx-init-env stx-tools/stx/bin/stx
    cat > stx-tools/import-stx << 'END'
# Like the real file, this one fails under `set -e` and `set -u`.
false
[[ -n $UNSET_VARIABLE ]] || : "${STX_BUILD_HOME:?}" "${PROJECT:?}" "${STX_PLATFORM:?}" "${KUBECONFIG:?}" "${OS_CODENAME:?}"
[[ -e stx.conf ]] || echo "sample for $OS_CODENAME" > stx.conf
export PATH="$PWD/stx/bin:$PATH"
END
    git_tree cgcs-root README 'the tools'
    echo /build-tools >> cgcs-root/.git/info/exclude
    local tools=cgcs-root/build-tools
    program "$here" $tools/sign_iso_formal.sh
    program /rehearsal $tools/stx/{downloader,build-pkgs,build-image} $tools/{sign-secure-boot_debian,build-remote-cli.sh} \
        $tools/build-wheels/build-wheel-tarball.sh \
        $tools/build-docker-images/{build-stx-base.sh,build-stx-images.sh} $tools/build-helm-charts.sh
    git_tree cgcs-root/public-keys key 'a key'
    git_tree cgcs-root/stx/utilities utilities/build-info/release-info.inc 'PLATFORM_RELEASE="26.10"'
    git_tree cgcs-root/stx/git/ceph README 'a fork'
}

# `docker run` of the recipe mounts only the builders' home: a file outside of it is refused.
make_docker_debian() {
    [[ $1 == run ]] || return 0
    local file
    for file in "${@:12}"; do
        [[ $file == "$BUILDERS"/* ]] || { echo "$file is not below $BUILDERS" >&2; return 1; }
        rm --one-file-system --recursive --force -- "$file"
    done
}

make_stx() {
    case $1-$2 in
        config---add) echo "$3 = $4" >> stx.conf ;;
        control-stop) node stop ;;
        control-status) [[ ! -e $STX_BUILD_HOME/pod/ready ]] || printf 'stx-%s Running\n' builder pkgbuilder repomgr lat docker ;;
    esac
}

make_stx_init_env() {
    # The last mount is that of the pod with the package repositories.
    node start "$STX_BUILD_HOME/localdisk=/localdisk" "$STX_BUILD_HOME/mirrors/starlingx=/import/mirrors/starlingx" \
        "$STX_BUILD_HOME/aptly=/aptly"
}

# node start DIRECTORY=PATH..., node stop: asks the process that runs pods and containers, so that they are not children of a phase.
node() {
    local dir=$HOME/containers/$PROJECT
    [[ $KIND != debian ]] || dir=$STX_BUILD_HOME
    echo "$*" > "$dir/node.requests"
    until [[ $1 == start && -e $dir/pod/ready || $1 == stop && ! -e $dir/pod/ready ]]; do sleep 0.02; done
}

# -d shell --no-tty -c COMMAND, as it enters the pod.
enter_stx() {
    [[ $* == "-d shell --no-tty -c $5" ]] || { echo "rehearsal: stx $*" >&2; exit 97; }
    local inner
    printf -v inner '%q' "source /home/\$MYUNAME/userenv && { $5 ; }"
    exec kubectl -n "$STX_K8S_NAMESPACE" exec --stdin stx-builder -- bash -l -c "runuser -u \$MYUNAME -- bash --norc -c $inner"
}

# The client; a process that it starts in the pod continues when the client ends.
enter_kubectl() {
    [[ "$1 $2 $3 $4 $5 $6" == "-n $STX_K8S_NAMESPACE exec --stdin stx-builder --" ]] || { echo "rehearsal: kubectl $*" >&2; exit 97; }
    enter "$STX_BUILD_HOME/pod" "${@:7}"
}

# enter POD WORD...: the client.
enter() {
    local pod=$1 request
    shift
    [[ -e $pod/ready ]] || { echo 'error: pod not found' >&2; exit 1; }
    request=$(mktemp -d -p "$pod" --suffix=.request)
    printf '%q ' "$@" > "$request/command"
    echo "${request##*/}" > "$pod/requests"
    until [[ -e $request/status ]]; do
        [[ -e $pod/ready ]] || { echo 'command terminated' >&2; exit 137; }
        sleep 0.02
    done
    cat "$request/output"
    cat "$request/errors" >&2
    exit "$(cat "$request/status")"
}

make_downloader() {
    local mirror=/import/mirrors/starlingx lists=$MY_WORKSPACE/required_downloads
    deb $mirror/binaries libc6 2.41-12
    deb $mirror/binaries ethtool 1:6.14.2-1
    # A file of an earlier build, which is kept and which this build must not publish.
    deb $mirror/binaries obsolete 1.0-1
    dsc $mirror/sources/dpdk dpdk 24.11.2-2
    dsc $mirror/sources/obsolete obsolete 1.0-1
    mkdir -p "$lists"
    printf '%s\n' libc6_2.41-12_amd64.deb ethtool_6.14.2-1_amd64.deb > "$lists/binaries.txt"
    (cd $mirror/sources && printf '%s\n' dpdk/*) > "$lists/sources.txt"
}

make_build_pkgs_debian() {
    # In the first pass, a package fails because it needs one that is built later.
    echo pass >> "$state/passes"
    (($(wc -l < "$state/passes") > 1)) || { echo 'rehearsal: 1 package failed' >&2; return 1; }
    local type package dir
    for type in std rt; do
        for package in tsconfig "kernel-$type"; do
            dir=$MY_WORKSPACE/$type/$package
            dsc "$dir" "$package" 1.0-1.stx.3
            deb "$dir" "$package" 1.0-1.stx.3
            put "$dir/${package}_1.0-1.stx.3_amd64."{buildinfo,changes,build} "$dir/$package-1.0/debian/control" "$dir/builder.log"
            # Like the trees that builders write as root.
            chmod 700 "$dir/$package-1.0"
            deb "/aptly/public/deb-local-build/pool/main/${package:0:1}/$package" "$package" 1.0-1.stx.3
        done
        put "$MY_WORKSPACE/$type/stamp/tsconfig"
    done
    # The packages that are signed for secure boot.
    dir=$MY_WORKSPACE/std
    dsc "$dir/shim" shim 15.8-1.stx.3
    dsc "$dir/grub-efi" grub-efi 2.06-1.stx.3
    deb "$dir/shim" shim-unsigned 15.8-1.stx.3
    deb "$dir/grub-efi" grub-efi-amd64 2.06-1.stx.3
    deb /aptly/public/deb-local-build/pool/main/s/shim shim-unsigned 15.8-1.stx.3
    deb /aptly/public/deb-local-build/pool/main/g/grub-efi grub-efi-amd64 2.06-1.stx.3
    put /aptly/public/deb-local-build/dists/"$CODENAME"/main/binary-amd64/Packages
}

# Signs packages only in the package repository, and changes a work tree.
make_sign_secure_boot_debian() {
    local package dir place name version pool=/aptly/public/deb-local-build/pool/main
    for package in std/shim:s/shim:shim-unsigned:15.8-1.stx.3 std/grub-efi:g/grub-efi:grub-efi-amd64:2.06-1.stx.3; do
        IFS=: read -r dir place name version <<< "$package"
        test -s "$MY_WORKSPACE/$dir/${name}_${version}_amd64.deb"
        put "$MY_WORKSPACE/$dir/sign/$name/boot.efi"
        deb "$pool/$place" "$name" "$version" signed
    done
    sed -i 's/EFI_SECURE_BOOT: disable/EFI_SECURE_BOOT: enable/' \
        "$MY_REPO_ROOT_DIR/stx-tools/debian-mirror-tools/config/debian/$DEBIAN_DISTRIBUTION/common/base-$DEBIAN_DISTRIBUTION.yaml"
}

make_sign_iso_formal_sh() {
    test -s "$1"
    echo "formally signed by $SIGNING_SERVER" > "${1%.iso}.sig"
}

make_build_remote_cli_sh() {
    has_image "$(option platform-image "$@")"
    has_image "$(option application-image "$@")"
    put "$MY_WORKSPACE/std/build-remote-cli/stx-remote-cli-1.0.tgz"
}

make_build_image() {
    local deploy=/localdisk/deploy iso=starlingx-intel-x86-64-$TIMESTAMP-cd
    put $deploy/"$iso".{iso,sig} $deploy/ostree_repo/config $deploy/starlingx.RENAMED.txt
    ln -sfn "$iso.iso" $deploy/starlingx-intel-x86-64-cd.iso
    ln -sfn "$iso.sig" $deploy/starlingx-intel-x86-64-cd.sig
}

make_build_wheel_tarball_sh_debian() {
    local suffix=
    [[ ${*: -1} != --python2 ]] || suffix=-py2
    put "$MY_WORKSPACE/std/build-wheels-debian-$CODENAME-stable/stx-debian-stable-wheels$suffix.tar"
}

# apt in the image installs packages of the running build, which is not on the mirror yet.
make_build_stx_base_sh_debian() {
    python3 - "$PREVIEW_URL" << 'END'
import gzip, sys, urllib.request
for place, package in (("inputs/packages", "ethtool"), ("outputs/std/packages", "tsconfig")):
    with urllib.request.urlopen(f"{sys.argv[1]}/{place}/Packages.gz") as response:
        assert f"Package: {package}\n" in gzip.decompress(response.read()).decode(), place
END
    local image tag tags=("$PREFIX-$CODENAME-amd64-stable")
    [[ $CODENAME != bullseye ]] || tags+=("$PREFIX-stable")
    image=$(option registry "$@")/$(option user "$@")/stx-debian
    for tag in "${tags[@]}"; do
        push "$image:$tag-$TIMESTAMP" "$image"
        [[ " $* " != *" --latest "* ]] || push "$image:$tag-latest" "$image"
    done
}

make_build_stx_images_sh_debian() {
    local label os lists=$MY_WORKSPACE/std/build-images only user
    os=$(option os "$@") only=$(option only "$@") user=$(option registry "$@")/$(option user "$@")
    has_image "$(option base "$@")"
    [[ -n $only ]] || rm -f "$lists/images-$os"-*.lst
    for label in stx-fm-rest-api stx-platformclients stx-openstackclients; do
        [[ -z $only || ,$only, == *",$label,"* ]] || continue
        push_listed "$lists/images-$os-$CODENAME-amd64-stable" "$user/$label:$PREFIX-$os-$CODENAME-amd64-stable" "$@"
        # The builders also push the images of bullseye under their older names.
        [[ $os-$CODENAME != debian-bullseye ]] || push_listed "$lists/images-$os-stable" "$user/$label:$PREFIX-$os-stable" "$@"
    done
}

make_build_helm_charts_sh_debian() {
    local label=$5 record
    rm -rf "$MY_WORKSPACE/std/build-helm/stx"
    for record in ${7//,/ }; do test -s "$record"; done
    put "$MY_WORKSPACE/std/build-helm/stx/stx-openstack-26.10-0-$label.tgz"
}

# shellcheck shell=bash disable=SC2154
# The files that the programs of the CentOS recipes make, as in makes.sh.

make_sources_centos() {
    git_tree stx-tools Dockerfile 'FROM centos:7.4.1708'
    printf '%s\n' /centos-mirror-tools /toCOPY >> stx-tools/.git/info/exclude
    program /rehearsal stx-tools/centos-mirror-tools/download_mirror.sh \
        stx-tools/toCOPY/{generate-cgcs-centos-repo.sh,generate-centos-repo.sh,populate_downloads.sh}
    git_tree cgcs-root README 'the tools'
    echo /build-tools >> cgcs-root/.git/info/exclude
    local tools=cgcs-root/build-tools
    program /rehearsal $tools/{build-pkgs,build-iso,update-pxe-network-installer,build-helm-charts.sh} \
        $tools/build-wheels/build-wheel-tarball.sh $tools/build-docker-images/{build-stx-base.sh,build-stx-images.sh} \
        $tools/build-remote-cli.sh
    # The recipe looks for the option in the program.
    echo '# --application-image' >> $tools/build-remote-cli.sh
    git_tree cgcs-root/stx/stx-config README 'a git'
    git_tree cgcs-root/stx/apps centos_helm.inc $'# charts\nstx-platform-helm\nstx-openstack-helm\nstx-monitor-helm\nelastic-helm'
    git_tree cgcs-root/stx/oidc-auth-armada-app oidc-auth-tools/oidcauthtools/oidcauthtools/oidc_auth.py 'print()'
}

make_sources_containers() {
    git_tree stx-tools README 'the builders'
    echo /stx >> stx-tools/.git/info/exclude
    put stx-tools/stx/debian/{bullseye,trixie}/dockerfiles/stx-{aptly,builder,lat-tool,pkgbuilder}.Dockerfile
}

# An image is a text until it is pushed.
make_docker_containers() {
    local images=$state/docker image
    mkdir -p "$images"
    at() { printf '%s/%s' "$images" "${1//[\/:]/_}"; }
    case $1 in
        build)
            image=$(option tag "$@")
            test -s "$(option file "$@")"
            option file "$@" > "$(at "$image")"
            ;;
        tag) cp "$(at "$2")" "$(at "$3")" ;;
        push) push "$2" "$(cat "$(at "$2")")" ;;
    esac
}

# Makes a package that yum can read, and its source package.
rpms() {
    [[ ! -d $state/rpms ]] || return 0
    local work=$state/rpms.new
    mkdir -p "$work"
    printf '%s\n' 'Name: fm-api' 'Version: 1.0' 'Release: 1.tis.3' 'Summary: rehearsed' 'License: none' 'BuildArch: noarch' \
        '%description' 'rehearsed' '%files' > "$work/fm-api.spec"
    rpmbuild --quiet -ba --define "_topdir $work" --define "_dbpath $work/db" \
        --define "_buildhost builder.example.org" "$work/fm-api.spec" > "$work/log" 2>&1
    mkdir "$work/all"
    cp "$work"/RPMS/noarch/*.rpm "$work"/SRPMS/*.rpm "$work/all"
    mv "$work/all" "$state/rpms"
}

make_download_mirror_sh() {
    local output=output/stx/CentOS
    [[ " $TAGS " != *" 2018 "* ]] || output=output/stx-r1/CentOS/pike
    mkdir -p $output/{Binary/noarch,Source} logs
    cp "$state"/rpms/*.noarch.rpm $output/Binary/noarch
    cp "$state"/rpms/*.src.rpm $output/Source
    put $output/downloads/kubernetes.tar.gz $output/Binary/images/pxeboot/{initrd.img,vmlinuz} $output/Binary/LiveOS/squashfs.img
    : > logs/rpms_missing_L1.log
    echo 'already_there_srpm: fm-api' > logs/srpms_failmoved_L1.log
}

# links FROM TO: makes a link for each file.
links() {
    local file
    (cd "$1" && find . -type f -name "$3") | while read -r file; do
        mkdir -p "$2/$(dirname "$file")"
        ln -sfn "$1/${file#./}" "$2/$file"
    done
}

make_generate_cgcs_centos_repo_sh() {
    links "${1%/}/Binary" "$MY_REPO/cgcs-centos-repo/Binary" '*.rpm'
    links "${1%/}/Source" "$MY_REPO/cgcs-centos-repo/Source" '*.rpm'
}

make_generate_centos_repo_sh() {
    links "${2%/}/Binary" "$MY_REPO/centos-repo/Binary" '*.rpm'
    links "${2%/}/Source" "$MY_REPO/centos-repo/Source" '*.rpm'
}

make_populate_downloads_sh() {
    links "${1%/}/downloads" "$MY_REPO/stx/downloads" '*'
}

make_build_pkgs_centos() {
    local type types=(std rt)
    case ${1-} in
        --installer) types=(installer) ;;
        --clean | pxe-network-installer) return 0 ;;
    esac
    for type in "${types[@]}"; do
        local rpmbuild=$MY_WORKSPACE/$type/rpmbuild
        mkdir -p "$rpmbuild"/{RPMS,SRPMS}
        cp "$state"/rpms/*.noarch.rpm "$rpmbuild/RPMS"
        cp "$state"/rpms/*.src.rpm "$rpmbuild/SRPMS"
        # Like the trees that builders write as root.
        mkdir -p -m 700 "$MY_WORKSPACE/$type/mock"
        # r/2018.10 has no lists for other layers.
        [[ " $TAGS " != *" 2018 "* ]] || continue
        put "$rpmbuild/RPMS/rpm.lst" "$rpmbuild/SRPMS/srpm.lst"
        [[ $type != std ]] || put "$MY_WORKSPACE"/std/{image,image-dev,centos_stable_wheels,centos_dev_wheels}.inc
    done
}

make_update_pxe_network_installer() {
    put "$MY_WORKSPACE"/pxe-network-installer/output/new-{initrd.img,vmlinuz,squashfs.img}
}

make_build_iso() {
    put "$MY_WORKSPACE"/export/bootimage.{iso,sig}
}

make_build_wheel_tarball_sh_centos() {
    put "$MY_WORKSPACE/std/build-wheels-centos-${*: -1}/stx-centos-${*: -1}-wheels.tar"
}

make_build_stx_base_sh_centos() {
    local image latest
    image=$(option registry "$@")/$(option user "$@")/stx-centos latest=$(option latest-tag "$@")
    push "$image:$(option version "$@")" "$image"
    [[ " $* " != *" --latest "* ]] || push "$image:$latest" "$image"
    [[ $* == *" --stream stable "* && $PACKAGES == "$PREVIEW_URL" ]] || return 0
    python3 - "$PREVIEW_URL" << 'END'
import sys, urllib.request
for place in ("inputs/RPMS", "outputs/RPMS/std"):
    with urllib.request.urlopen(f"{sys.argv[1]}/{place}/repodata/repomd.xml") as response:
        assert b"<repomd" in response.read(), place
END
}

make_build_stx_images_sh_centos() {
    local label lists=$MY_WORKSPACE/std/build-images name user base
    name=$(option os "$@")-$(option stream "$@") user=$(option registry "$@")/$(option user "$@") base=$(option base "$@")
    [[ $base != "$user"/* ]] || has_image "$base"
    rm -f "$lists/images-$name"-*.lst
    for label in stx-fm-rest-api stx-platformclients stx-openstackclients; do
        push_listed "$lists/images-$name" "$user/$label:$PREFIX-$name" "$@"
    done
}

make_build_helm_charts_sh_centos() {
    local record
    record=$(option image-record "$@")
    [[ -z $record ]] || grep -q stx-fm-rest-api "$record"
    put "$MY_WORKSPACE/std/build-helm/stx/$(option app "$@")-1.0-17${record:+-$(option label "$@")}.tgz"
}

make_docker_centos() {
    case $1 in
        build) rpms ;;
        run) node start "$MIRROR_OUTPUT=/import/mirrors/CentOS" "$LOCALDISK=$LOCALDISK" ;;
        stop) node stop ;;
    esac
}

# exec --interactive [--user=USER] CONTAINER WORD...
enter_docker() {
    shift 2
    [[ $1 != --user=* ]] || shift
    enter "$HOME/containers/$1/pod" "${@:2}"
}

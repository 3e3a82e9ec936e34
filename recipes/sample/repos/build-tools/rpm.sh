# shellcheck shell=bash
# How RPMs are built: sourced after common.sh, once enter_build was called.

# rpm_build TOPDIR PHASE SPEC [rpmbuild options]: the source and binary RPMs of
# SPEC in TOPDIR/SRPMS and TOPDIR/RPMS. Nothing in them depends on when, where or
# by whom they are built. BuildRequires are not looked up in an RPM database,
# which a Debian host does not have; build-pkgs sees to them.
rpm_build() {
    local top=$1 phase=$2 spec=$3
    shift 3
    mkdir -p "$top"/{BUILD,BUILDROOT,RPMS,SOURCES,SPECS,SRPMS}
    rpmbuild -ba --nodeps \
        --define "_topdir $top" \
        --define "_tmppath $work" \
        --define "_buildshell /bin/bash" \
        --define "_rpmfilename %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm" \
        --define "build_type $phase" \
        --define "dist .el7" \
        --define "vendor StarlingX" \
        --define "_buildhost stx" \
        --define "use_source_date_epoch_as_buildtime 1" \
        --define "clamp_mtime_to_source_date_epoch 1" \
        --define "optflags -O2 -Wall -Wextra -fstack-protector-strong" \
        --define "debug_package %{nil}" \
        --define "_build_id_links none" \
        --define "_binary_payload w6.gzdio" \
        --define "_source_payload w6.gzdio" \
        "$@" "$spec"
}

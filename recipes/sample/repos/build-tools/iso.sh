# shellcheck shell=bash
# Functions that make initrds and ISO images: sourced after common.sh.

# first_of FILE...: the first file that exists.
first_of() {
    local file
    for file in "$@"; do
        [[ -f $file ]] && echo "$file" && return
    done
    die "none of these files exists: $*; install isolinux and syslinux-common (on Fedora: syslinux)"
}

# copy_modules FROM RELEASE TO MODULE...: copies kernel modules and their dependencies
# from the root directory FROM to the root directory TO.
copy_modules() {
    local from=$1 release=$2 to=$3 module needed path
    shift 3
    local dir=lib/modules/$release
    depmod -b "$from" "$release"
    mkdir -p "$to/$dir"
    for module in "$@"; do
        needed=$(modprobe -d "$from" -S "$release" --show-depends "$module" | sed -n 's/^insmod //p') ||
            die "kernel $release has no module $module"
        for path in $needed; do
            install -D -m 0644 "$path" "$to/$dir/${path##*/"$release"/}"
        done
    done
    install -m 0644 -t "$to/$dir" "$from/$dir"/modules.{builtin,builtin.modinfo,order}
    depmod -b "$to" "$release"
}

# pack_initrd DIR FILE: makes an initrd of DIR.
pack_initrd() {
    age "$1"
    (cd "$1" && find . -print0 | sort -z |
        cpio --quiet --null --create --format=newc --reproducible --owner=0:0 | gzip --no-name -6) > "$2"
}

# make_iso DIR FILE CONFIGURATION: makes an ISO image of DIR that boots the kernel and the
# initrd in DIR/isolinux by this isolinux configuration. Adds SHA256SUMS.
make_iso() {
    local dir=$1 file=$2
    cp "$(first_of /usr/lib/ISOLINUX/isolinux.bin /usr/share/syslinux/isolinux.bin)" "$dir/isolinux/"
    cp "$(first_of /usr/lib/syslinux/modules/bios/ldlinux.c32 /usr/share/syslinux/ldlinux.c32)" "$dir/isolinux/"
    cp "$3" "$dir/isolinux/isolinux.cfg"
    (cd "$dir" && find . -type f ! -path './isolinux/isolinux.bin' -printf '%P\n' | sort | xargs sha256sum) > "$work/sums"
    mv "$work/sums" "$dir/SHA256SUMS"
    age "$dir"

    rm -f "$file"
    xorriso -report_about WARNING -as mkisofs -quiet -o "$file" -V STX -J -R -uid 0 -gid 0 \
        -b isolinux/isolinux.bin -c isolinux/boot.cat -no-emul-boot -boot-load-size 4 -boot-info-table \
        -isohybrid-mbr "$(first_of /usr/lib/ISOLINUX/isohdpfx.bin /usr/share/syslinux/isohdpfx.bin)" \
        --modification-date="$(date --utc --date="@$SOURCE_DATE_EPOCH" +%Y%m%d%H%M%S00)" "$dir"
    implantisomd5 "$file" > /dev/null
    say "made ${file##*/}, $(stat --format=%s "$file") bytes"
}

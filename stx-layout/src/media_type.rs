//! Media types for web servers and object stores.

/// The media type of a file on a mirror, by its path or name, for servers and object stores; `application/octet-stream` if nothing is known
/// of it. Browsers show a text; they would store a file of another type, such as `application/pgp-keys` of `KEYS`.
///
/// The configurations of web servers in `docs/serving.md` give the same types.
///
/// ```
/// assert_eq!(stx_layout::media_type("outputs/iso/bootimage.iso"), "application/x-iso9660-image");
/// assert_eq!(stx_layout::media_type("SHA256SUMS"), "text/plain; charset=utf-8");
/// ```
pub fn media_type(path: &str) -> &'static str {
    const TEXT: &str = "text/plain; charset=utf-8";
    const OTHER: &str = "application/octet-stream";
    let file = path.rsplit_once('/').map_or(path, |(_, file)| file);
    let Some((_, extension)) = file.rsplit_once('.') else {
        return match file {
            "BUILD_INFO" | "CHANGELOG" | "CONTEXT" | "InRelease" | "KEYS" | "LAST_COMMITS"
            | "Packages" | "Release" | "SHA256SUMS" | "Sources" => TEXT,
            _ => OTHER,
        };
    };
    match extension {
        "asc" | "buildinfo" | "changes" | "dsc" | "inc" | "log" | "lst" | "repo" | "sh"
        | "sources" | "txt" => TEXT,
        "html" => "text/html; charset=utf-8",
        "json" => "application/json",
        "xml" if file == "feed.xml" => "application/atom+xml",
        "xml" => "application/xml",
        "rpm" => "application/x-rpm",
        "deb" | "udeb" => "application/vnd.debian.binary-package",
        "iso" => "application/x-iso9660-image",
        "zsync" => "application/x-zsync",
        "meta4" => "application/metalink4+xml",
        "tar" => "application/x-tar",
        "gz" | "tgz" => "application/gzip",
        "xz" => "application/x-xz",
        "bz2" => "application/x-bzip2",
        "zst" => "application/zstd",
        _ => OTHER,
    }
}

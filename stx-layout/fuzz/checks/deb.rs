//! Any bytes as a Debian package: no panic, bounded memory; a control member can be read from the bytes before its end; its
//! fields print back.

use stx_deb::{DebError, Extent, control_extent, paragraphs, read_control, read_payload};

/// Reads `bytes` as a package.
pub(crate) fn check(bytes: &[u8]) {
    let control = read_control(bytes);
    if let Ok(control) = &control {
        let Ok(Extent::Whole(end)) = control_extent(bytes) else {
            panic!("a control member without an end");
        };
        let end = usize::try_from(end).expect("no more than there is");
        assert_eq!(&read_control(&bytes[..end]).expect("the same"), control);
        let shown = control.paragraph.to_string();
        assert_eq!(
            paragraphs(&shown).as_deref(),
            Ok(&[control.paragraph.clone()][..])
        );
    }
    let payload = read_payload(bytes, |entry, contents| {
        assert!(entry.path.starts_with('/'));
        let read = std::io::copy(contents, &mut std::io::sink())?;
        assert!(read == entry.size || entry.size == 0);
        Ok(())
    });
    for error in [control.map(drop), payload]
        .into_iter()
        .filter_map(Result::err)
    {
        assert!(
            !matches!(error, DebError::Io { .. }),
            "the reader is in memory"
        );
    }
}

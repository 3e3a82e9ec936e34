//! Any bytes as a zsync control file: no panic; what is accepted is written and read again as the same, and a search for its blocks
//! gives a plan that covers the file once and takes nothing from beyond the seed. The same bytes as a file: what a plan takes from
//! a seed is what the file has there.

use stx_publish::zsync::{Control, Index, Maker, Piece, plan};

/// Reads `bytes` as a control file, and makes one of them.
pub(crate) fn check(bytes: &[u8]) {
    if let Ok(control) = Control::parse(bytes) {
        let again = Control::parse(&control.to_bytes()).expect("what is accepted is written");
        assert_eq!(again, control);
        let pieces = pieces(&control, bytes);
        for piece in pieces {
            if let Some((seed, at)) = piece.seed {
                assert!(
                    seed == 0 && at + piece.length <= bytes.len() as u64,
                    "{piece:?}"
                );
            }
        }
    }
    let mut maker = Maker::new("a file", "a%20file", bytes.len() as u64);
    for part in bytes.chunks(1_000) {
        maker.update(part);
    }
    let made = maker.finish().expect("all of it");
    let control = Control::parse(&made).expect("what is made is accepted");
    assert_eq!(control.to_bytes(), made);
    let seed = [&b"something else"[..], bytes].concat();
    for piece in pieces(&control, &seed) {
        let Some((_, at)) = piece.seed else {
            continue;
        };
        let [at, to, length] =
            [at, piece.at, piece.length].map(|it| usize::try_from(it).expect("small"));
        assert_eq!(seed[at..at + length], bytes[to..to + length], "{piece:?}");
    }
}

fn pieces(control: &Control, seed: &[u8]) -> Vec<Piece> {
    let index = Index::new(control);
    let found = index.scan(&mut &*seed, 0, seed.len() as u64);
    let pieces = plan(
        &index,
        &[(seed.len() as u64, found.expect("bytes can be read"))],
    );
    let mut next = 0;
    for piece in &pieces {
        assert!(
            piece.at == next && piece.length > 0,
            "{piece:?} after {next}"
        );
        next += piece.length;
    }
    assert_eq!(next, control.length());
    pieces
}

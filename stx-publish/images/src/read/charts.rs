//! Helm charts as uncompressed bytes, to be searched for the images that they name.

use std::io::Read as _;

use camino::Utf8Path;
use flate2::read::MultiGzDecoder;
use stx_layout::{BuildId, BuildPath};

use stx_publish::store::{MirrorRead, StoreError, read_all};
use stx_publish::verify::chain;

/// The largest chart that is read, in bytes, both compressed and uncompressed.
const LARGEST: u64 = 64 << 20;

/// The charts of a build: `outputs/helm-charts/*.tgz`.
pub async fn charts(store: &dyn MirrorRead, id: &BuildId) -> Result<Vec<BuildPath>, StoreError> {
    let sums = store.sums(id).await?;
    let paths = sums.lines().iter().map(|line| &line.path).filter(|path| {
        let name = path.as_str().strip_prefix("outputs/helm-charts/");
        name.is_some_and(|name| Utf8Path::new(name).extension() == Some("tgz"))
    });
    Ok(paths.cloned().collect())
}

/// Reads a chart of a build; the error is the reason why it cannot be read.
pub async fn read_chart(
    store: &dyn MirrorRead,
    id: &BuildId,
    path: &BuildPath,
) -> Result<Vec<u8>, String> {
    match read_all(store, id, path, LARGEST).await {
        Ok(packed) => plain(&packed),
        Err(error) => Err(chain(&error)),
    }
}

/// The tar in a chart. It is searched without being unpacked: the texts in a tar are not compressed.
fn plain(packed: &[u8]) -> Result<Vec<u8>, String> {
    let mut text = Vec::new();
    let mut decoder = MultiGzDecoder::new(packed).take(LARGEST + 1);
    let read = decoder.read_to_end(&mut text);
    read.map_err(|error| error.to_string())?;
    if text.len() as u64 > LARGEST {
        return Err(format!("longer than {LARGEST} bytes"));
    }
    Ok(text)
}

//! Helm charts as plain bytes, to be searched for what they name.

use std::io::Read as _;

use camino::Utf8Path;
use flate2::read::MultiGzDecoder;
use stx_layout::{BuildId, BuildPath};

use stx_publish::store::{MirrorRead, StoreError, read_all};
use stx_publish::verify::chain;

/// Largest chart that is read, in bytes, packed and unpacked.
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

/// Reads a chart of a build; or says why it cannot be read.
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

/// The tar in a chart. It is searched as it is: the texts in a tar are not packed.
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

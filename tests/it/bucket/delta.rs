//! zsync control files in a bucket, and an image that is assembled with them.

use std::sync::Arc;

use camino_tempfile::tempdir;

use super::server::Server;
use super::{CHANNEL, Place, S3s, date, tree};
use crate::zsync::image;

#[test]
fn an_image_in_a_bucket_has_a_control_file_for_delta_downloads() {
    let work = tempdir().expect("a directory");
    let server: Arc<dyn Server> = Arc::new(S3s::start());
    let bucket = Place::bucket(&server, "delta");
    let directory = Place::Directory(tempdir().expect("a directory"));
    // Larger than one request; the third day has the same image as the second.
    let images = [image(1, 180), image(2, 180)];
    assert!(images[0].len() > 16 << 20);
    for (day, image) in [(1, &images[0]), (2, &images[1]), (3, &images[1])] {
        let tree = tree(work.path(), day);
        fs_err::write(tree.join("outputs/iso/bootimage.iso"), image).expect("written");
        drop(bucket.publish(&tree, day).ok());
        drop(directory.publish(&tree, day).ok());
    }
    let to = work.path().join("to");
    let fetch = |place: &Place, day: u32, what: &str| {
        let build = format!("{CHANNEL}/{}", date(day));
        place.json(&["fetch", &build, what, "--to", to.as_str()])
    };
    let controls = |place: &Place| {
        let read = |day| {
            drop(fetch(place, day, "outputs/iso/bootimage.iso.zsync"));
            fs_err::read(to.join("iso/bootimage.iso.zsync")).expect("a control file")
        };
        [1, 2, 3].map(read)
    };
    let [first, second, third] = controls(&bucket);
    assert!(first != second && second == third);
    assert!(
        [first, second, third] == controls(&directory),
        "the same as elsewhere"
    );
    for (day, image) in [(1, &images[0]), (2, &images[1])] {
        let fetched = fetch(&bucket, day, "iso");
        assert!(fs_err::read(to.join("bootimage.iso")).expect("an image") == *image);
        let transferred = fetched["transferred"].as_u64().expect("a number");
        let most = if day == 1 {
            image.len()
        } else {
            image.len() / 10
        };
        assert!(transferred <= most as u64, "{fetched}");
    }
    bucket.run(&["verify"]).ok();
}

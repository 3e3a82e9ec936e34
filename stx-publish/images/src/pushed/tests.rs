use std::collections::BTreeMap;

use super::{PushedName, PushedRules, pushed_images, pushed_names, unstage};
use crate::ImageRules;
use crate::registry::ImageRegistry as _;
use crate::registry::conformance::{sample_blobs, sample_manifest};
use crate::registry::memory::MemoryRegistry;

const HOST: &str = "hub.example:5000";

fn rules() -> ImageRules {
    ImageRules {
        registry: HOST.to_owned(),
        org: None,
        moving: Vec::new(),
    }
}

fn lists(lists: &[(&str, &str)]) -> BTreeMap<stx_layout::BuildPath, String> {
    let lists = lists.iter().map(|(name, text)| {
        let path = format!("outputs/docker-images/images-{name}.lst");
        (path.parse().expect("a path"), text.replace("HOST", HOST))
    });
    lists.collect()
}

#[test]
fn pushed_images_are_read_from_the_versioned_lists() {
    let lists = lists(&[
        (
            "debian-trixie-amd64-stable-versioned",
            "HOST/starlingx/stx-nova:master-debian-trixie-amd64-stable-20260816T000100Z.0\n\nHOST/starlingx/dex:stx.4.0-v2.14.0-1\n",
        ),
        (
            "debian-stable-versioned",
            "HOST/starlingx/stx-nova:master-debian-stable-20260816T000100Z.0\nHOST/starlingx/dex:stx.4.0-v2.14.0-1",
        ),
        (
            "debian-stable-latest",
            "HOST/starlingx/stx-nova:master-debian-stable-latest\n",
        ),
    ]);
    let found = pushed_names(&lists, &rules(), &PushedRules::default()).expect("names");
    let names: Vec<_> = found
        .names
        .iter()
        .map(|image| image.name.parts().tag.to_string())
        .collect();
    assert_eq!(
        names,
        [
            "stx.4.0-v2.14.0-1",
            "master-debian-stable-20260816T000100Z.0",
            "master-debian-trixie-amd64-stable-20260816T000100Z.0",
        ]
    );
    assert!(found.names.iter().all(|image| image.staged.is_none()));
    assert_eq!(found.lists.len(), 3);
    assert!(found.lists.values().all(|text| text.ends_with('\n')));

    let staging = PushedRules::new(Some("staging-".to_owned()));
    let staged = self::lists(&[
        (
            "debian-stable-versioned",
            "HOST/starlingx/stx-nova:staging-master-debian-stable-20260816T000100Z.0\n",
        ),
        (
            "debian-stable-latest",
            "HOST/starlingx/stx-nova:master-debian-stable-latest\n",
        ),
    ]);
    let found = pushed_names(&staged, &rules(), &staging).expect("names");
    let image = found.names.first().expect("an image");
    assert_eq!(image.name.parts().tag.form(), "stream");
    assert!(
        image
            .staged
            .as_ref()
            .is_some_and(|staged| staged.as_str().contains(":staging-"))
    );
    assert!(
        found.lists.values().all(|text| !text.contains("staging")),
        "{:?}",
        found.lists
    );
}

#[test]
fn a_line_that_is_not_an_image_of_the_build_is_refused_with_its_place() {
    let staging = Some("staging-".to_owned());
    for (line, staging, word) in [
        ("HOST/starlingx/Nova:1", None, "small letters"),
        (
            "docker.io/starlingx/stx-nova:1",
            None,
            "the image is not on hub.example:5000",
        ),
        ("starlingx/stx-nova:1", None, "the image is not on"),
        (
            "HOST/starlingx/stx-nova:master-debian-latest",
            None,
            "the tag moves",
        ),
        (
            "HOST/starlingx/stx-nova:1.0",
            staging,
            "does not begin with \"staging-\"",
        ),
    ] {
        let text = format!("HOST/starlingx/a:1\n{line}\n");
        let text = if staging.is_some() {
            text.replace("starlingx/a:1", "starlingx/a:staging-1")
        } else {
            text
        };
        let lists = lists(&[("debian-stable-versioned", &text)]);
        let error = pushed_names(&lists, &rules(), &PushedRules::new(staging)).expect_err(line);
        assert_eq!(error.line, 2);
        let error = error.to_string();
        assert!(
            error.contains(word) && error.contains("images-debian-stable-versioned.lst line 2"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn pushed_images_are_resolved_by_the_registry() {
    let registry = MemoryRegistry::new(HOST);
    let name = |tag: &str| -> stx_layout::ImageName {
        format!("{HOST}/starlingx/stx-nova:{tag}")
            .parse()
            .expect("a name")
    };
    let (config, layer) = sample_blobs("one");
    let manifest = sample_manifest(&config, &layer);
    let digest = manifest.digest();
    for blob in [&config, &layer] {
        registry
            .push_blob(&name("x"), blob, None)
            .await
            .expect("pushed");
    }
    registry
        .push_manifest(&name("x"), &manifest)
        .await
        .expect("pushed");
    registry
        .tag(&name("staging-1.0"), digest)
        .await
        .expect("tagged");
    let pushed = |tag: &str| PushedName {
        name: name(tag),
        staged: Some(name(&format!("staging-{tag}"))),
    };
    let names = [pushed("1.0"), pushed("2.0")].into();
    let found = pushed_images(&registry, &names).await.expect("asked");
    assert_eq!(found.images.len(), 1);
    assert_eq!(
        (&found.images[0].name, found.images[0].digest),
        (&name("1.0"), digest)
    );
    let bytes = manifest.bytes.len() as u64 + config.size + layer.size;
    assert_eq!(found.images[0].size, Some(bytes));
    assert_eq!(found.missing, [name("staging-2.0")]);
    assert_eq!(found.staged, [(name("staging-1.0"), digest)]);

    // Once the image has its own tag, the staging tag is removed, and the image is found by its own tag.
    registry.tag(&name("1.0"), digest).await.expect("tagged");
    unstage(&registry, &found.staged).await.expect("unstaged");
    assert_eq!(
        registry.resolve(&name("staging-1.0")).await.expect("asked"),
        None
    );
    let again = pushed_images(&registry, &names).await.expect("asked");
    assert_eq!((again.images, again.staged), (found.images, Vec::new()));

    // A later build pushed another image under the same staging tag, so the tag belongs to that build.
    let staged = name("staging-1.0");
    registry.tag(&staged, digest).await.expect("tagged");
    let other = stx_layout::Sha256([1; 32]);
    let unstaged = unstage(&registry, &[(staged.clone(), other)]).await;
    unstaged.expect("left alone");
    let shown = registry.resolve(&staged).await.expect("asked");
    assert_eq!(shown, Some(digest));
}

//! The next step after an error of a registry.

use stx_images::{ImageError, ImageHookError, RegistryError};
use stx_publish::{HookError, WebPage};

use super::unreached;

/// The next step after an error of the registry `host`; `None` if the same command succeeds as soon as the registry answers.
pub(crate) fn remedy(host: &str, error: &RegistryError) -> Option<String> {
    match error {
        RegistryError::Denied { .. } | RegistryError::Credentials { .. } => Some(
            "log in with an account that may do this; credentials are read from Docker's config.json (DOCKER_CONFIG) or from the helper that it names"
                .to_owned(),
        ),
        RegistryError::Network { source, .. } if source.is::<WebPage>() => Some(
            "check that `host` in [registry] names the registry, and that no login page or proxy answers in its place".to_owned(),
        ),
        RegistryError::Network { source, .. } => {
            unreached(&format!("https://{host}/"), source.as_ref())
        }
        RegistryError::Quota { .. } => Some(
            "remove images that are not needed from the registry, or have its quota raised".to_owned(),
        ),
        RegistryError::Unreadable { what, .. } => Some(format!(
            "the registry cannot read {what}; if no other image belongs under it, push the image there, for example with `skopeo copy`"
        )),
        RegistryError::Refused { .. } => Some(
            "read the log of the registry, or of a proxy in front of it; does the project exist there?"
                .to_owned(),
        ),
        // Another attempt may succeed; no other advice exists.
        _ => None,
    }
}

/// The same for an error about the images of a build.
pub(crate) fn image_remedy(error: &ImageError) -> Option<String> {
    match error {
        ImageError::Registry { registry, source } => remedy(registry, source),
        ImageError::Clash(_) => Some(
            "a dated or static tag never moves: remove the tag from the registry if its image is not needed"
                .to_owned(),
        ),
        _ => None,
    }
}

/// The same for the error of a hook of a publish.
pub(crate) fn hook_remedy(error: &HookError) -> Option<String> {
    match error.downcast_ref()? {
        ImageHookError::NotPushed(error) | ImageHookError::NotTagged(error) => image_remedy(error),
        _ => None,
    }
}

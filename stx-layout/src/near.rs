//! Finds the known word that is nearest to a mistyped one.

/// The one of `known` that was probably intended by `word`; `None` if none is close.
///
/// Case does not count. Words of four letters and more may differ by one letter, those of seven and more by two; a swap of two
/// neighbours counts as one.
///
/// ```
/// use stx_layout::nearest;
///
/// let keys = ["mirror", "state", "recipe"];
/// assert_eq!(nearest("mirorr", keys), Some("mirror"));
/// assert_eq!(nearest("Mirror", keys), Some("mirror"));
/// assert_eq!(nearest("policy", keys), None);
/// ```
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = word.to_lowercase();
    known
        .into_iter()
        .filter_map(|other| {
            let most = match other.len() {
                0..4 => 0,
                4..7 => 1,
                _ => 2,
            };
            // A word of a very different length is not worth the comparison, whose cost is the product of both lengths.
            if other.len().abs_diff(lower.len()) > most {
                return None;
            }
            let distance = strsim::osa_distance(&lower, &other.to_lowercase());
            (distance <= most).then_some((distance, other))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, other)| other)
}

/// The end of an error about an unknown word: the nearest known word, or all known words if none is close.
///
/// ```
/// use stx_layout::meant;
///
/// assert_eq!(meant("mirorr", &["mirror", "state"]), "; did you mean `mirror`?");
/// assert_eq!(meant("policy", &["mirror", "state"]), ", expected one of mirror, state");
/// assert_eq!(meant("policy", &["mirror"]), ", expected mirror");
/// ```
pub fn meant(word: &str, known: &[&str]) -> String {
    if let Some(near) = nearest(word, known.iter().copied()) {
        return format!("; did you mean `{near}`?");
    }
    match known {
        [] => String::new(),
        [one] => format!(", expected {one}"),
        several => format!(", expected one of {}", several.join(", ")),
    }
}

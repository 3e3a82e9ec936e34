//! Text forms: serde through `FromStr` and `Display`, so that there is one validator a type.

/// Gives a type the serde form of its text, through its own `FromStr` and `Display`.
macro_rules! serde_as_text {
    ($type:ty) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

/// Declares an open set of path segments: any [`Name`](crate::Name) is one.
///
/// With `not CHECK`, but for what the check refuses: words that stand for something else in the same place.
macro_rules! open_segment {
    ($(#[$doc:meta])* $name:ident) => {
        $crate::text::open_segment! { $(#[$doc])* $name not $crate::text::nothing }
    };
    ($(#[$doc:meta])* $name:ident not $check:path) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name($crate::Name);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                self.0.as_str()
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::ParseError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let name = text.parse()?;
                match $check(text) {
                    None => Ok(Self(name)),
                    Some(expected) => Err($crate::ParseError::new(text, 0, expected)),
                }
            }
        }

        $crate::text::serde_as_text!($name);
    };
}

/// The check that refuses nothing.
pub(crate) fn nothing(_: &str) -> Option<&'static str> {
    None
}

pub(crate) use {open_segment, serde_as_text};

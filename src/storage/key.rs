//! The name of an object under the output's URL.

use std::fmt;

use object_store::path::Path;
use serde::{Deserialize, Serialize};

/// The name of an object, relative to the storage's root: segments joined by `/`, none empty, none `.` or `..`.
///
/// Invariant: it stands as it is in the store. `#` never occurs in a key of ours, for a local disk keeps its own leftovers under
/// such names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ObjectKey(Path);

/// A text that cannot name an object.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` cannot name an object")]
pub struct BadKey {
    text: String,
}

impl ObjectKey {
    /// A key of these segments. What a store may not like in a name (`#`, `%`, `/`, control characters, anything but ASCII) is percent-encoded.
    pub fn of<'a>(segments: impl IntoIterator<Item = &'a str>) -> ObjectKey {
        ObjectKey(segments.into_iter().collect())
    }

    /// The name of an object that others wrote, as they wrote it; the empty one is the root.
    pub fn foreign(text: &str) -> Result<ObjectKey, BadKey> {
        match Path::parse(text) {
            Ok(path) if path.as_ref() == text => Ok(ObjectKey(path)),
            _ => Err(BadKey { text: text.to_string() }),
        }
    }

    /// A key below this one.
    pub fn child(&self, segment: &str) -> ObjectKey {
        ObjectKey(self.0.clone().join(segment))
    }

    pub fn as_str(&self) -> &str {
        self.0.as_ref()
    }

    /// The last segment.
    pub fn name(&self) -> &str {
        self.0.filename().unwrap_or_default()
    }

    /// Whether this key is `folder` or stands below it.
    pub fn is_under(&self, folder: &ObjectKey) -> bool {
        self.0.prefix_matches(&folder.0)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// A key that the store itself listed.
    pub(super) fn listed(path: Path) -> ObjectKey {
        ObjectKey(path)
    }
}

impl TryFrom<String> for ObjectKey {
    type Error = BadKey;

    fn try_from(text: String) -> Result<ObjectKey, BadKey> {
        match Path::parse(&text) {
            Ok(path) if !path.as_ref().is_empty() && path.as_ref() == text && !text.contains('#') => {
                Ok(ObjectKey(path))
            }
            _ => Err(BadKey { text }),
        }
    }
}

impl From<ObjectKey> for String {
    fn from(key: ObjectKey) -> String {
        key.0.into()
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_cannot_leave_its_folder() {
        assert_eq!(ObjectKey::of(["windows", "../x#1", "ü"]).as_str(), "windows/..%2Fx%231/%C3%BC");
        assert_eq!(ObjectKey::of(["windows", ".."]).as_str(), "windows/%2E%2E");
    }

    #[test]
    fn a_key_that_was_encoded_once_is_read_back_as_it_is() {
        let key = ObjectKey::of(["windows", "by 100%"]);
        assert_eq!(ObjectKey::try_from(String::from(key.clone())), Ok(key));
    }

    #[test]
    fn a_text_that_is_not_a_key_is_refused() {
        for text in ["", "/", "/a", "a//b", "a/", "a/../b", "a\nb", "a#1"] {
            assert_eq!(ObjectKey::try_from(text.to_string()), Err(BadKey { text: text.to_string() }), "{text:?}");
        }
    }
}

//! `/user`: files of the operator's own folder (`--web.user-assets`).

use std::io::Read as _;
use std::path::{Component, Path, PathBuf};

use axum::body::Body;
use axum::response::Response;
use http::header::{CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};

use crate::respond::not_found;
use crate::state::State;

/// Largest file served: these are pages and pictures, held in memory while they are sent.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Media types by the end of the name; anything else is bytes.
const MEDIA: &[(&str, &str)] = &[
    ("css", "text/css; charset=utf-8"),
    ("gif", "image/gif"),
    ("htm", "text/html; charset=utf-8"),
    ("html", "text/html; charset=utf-8"),
    ("ico", "image/x-icon"),
    ("jpeg", "image/jpeg"),
    ("jpg", "image/jpeg"),
    ("js", "text/javascript; charset=utf-8"),
    ("json", "application/json"),
    ("png", "image/png"),
    ("svg", "image/svg+xml"),
    ("txt", "text/plain; charset=utf-8"),
    ("webp", "image/webp"),
    ("woff2", "font/woff2"),
];

pub(crate) async fn serve(state: &State, file: &str) -> Response {
    let folder = state.parts.options.user_assets.as_str();
    let Some(path) = within(folder, file) else { return not_found() };
    let read = tokio::task::spawn_blocking(move || load(&path)).await;
    let Ok(Some((path, bytes))) = read else { return not_found() };
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("").to_ascii_lowercase();
    let media = MEDIA.iter().find(|(e, _)| *e == extension).map_or("application/octet-stream", |(_, m)| m);
    let mut response = Response::new(Body::from(bytes));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media));
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// The path of a file below the folder; `None` for one that leads out of it. Links inside are followed: a
/// mounted ConfigMap is made of them.
fn within(folder: &str, file: &str) -> Option<PathBuf> {
    let plain = Path::new(file).components().all(|c| matches!(c, Component::Normal(_)));
    (!folder.is_empty() && plain && !file.contains('\0')).then(|| Path::new(folder).join(file))
}

/// A file, or the `index.html` of a folder.
fn load(path: &Path) -> Option<(PathBuf, Vec<u8>)> {
    let path = if path.is_dir() { path.join("index.html") } else { path.to_path_buf() };
    let file = std::fs::File::open(&path).ok()?;
    let meta = file.metadata().ok()?;
    if !meta.is_file() || meta.len() > FILE_BYTES_MAX {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    Some((path, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_outside_the_folder() {
        for file in ["../x", "/etc/passwd", "a/../../x", "a\0b"] {
            assert_eq!(within("/srv", file), None, "{file:?}");
        }
        assert_eq!(within("", "a"), None);
        assert_eq!(within("/srv", "a/b.html"), Some(PathBuf::from("/srv/a/b.html")));
        assert_eq!(within("/srv", ""), Some(PathBuf::from("/srv/")));
    }

    #[test]
    fn folders_have_an_index_and_pipes_are_no_files() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(load(dir.path()), None);
        std::fs::write(dir.path().join("index.html"), "x").unwrap();
        assert_eq!(load(dir.path()).unwrap().1, b"x");
        assert_eq!(load(Path::new("/dev/null")), None);
    }
}

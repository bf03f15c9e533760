//! A folder of built pages, such as a dashboard, beside the socket they talk to.

use super::error;
use axum::{
    body::Body,
    http::{HeaderValue, Method, Response, StatusCode, Uri, header},
};
use std::path::{Component, Path, PathBuf};
use wardline::protocol::Code;

/// Answers with a file below the folder; `/` is its `index.html`.
pub(super) async fn page(root: &Path, method: &Method, uri: &Uri) -> Response<Body> {
    let missing = || error(StatusCode::NOT_FOUND, &Code::NOT_FOUND, "no such path");
    if method != Method::GET && method != Method::HEAD {
        let (status, code) = (StatusCode::METHOD_NOT_ALLOWED, Code::METHOD_NOT_ALLOWED);
        return error(status, &code, "not by this method");
    }
    let Some(path) = below(root, uri.path()) else { return missing() };
    let Ok(bytes) = tokio::fs::read(&path).await else { return missing() };
    let mut response = Response::new(Body::from(bytes));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind(&path)));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // Names of built files carry a digest of what they hold; the page that names them does not.
    let caching = if path.strip_prefix(root).is_ok_and(|path| path.starts_with("assets")) {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(caching));
    response
}

/// The file a path names, never one outside of the folder. Escapes are not resolved: built files need none.
fn below(root: &Path, path: &str) -> Option<PathBuf> {
    let path = path.trim_start_matches('/');
    let path = Path::new(if path.is_empty() { "index.html" } else { path });
    let plain = path.components().all(|part| match part {
        Component::Normal(name) => !name.to_string_lossy().starts_with('.'),
        _ => false,
    });
    plain.then(|| root.join(path))
}

fn kind(path: &Path) -> &'static str {
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("html") => "text/html; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("json" | "map") => "application/json",
        Some("wasm") => "application/wasm",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("ico") => "image/x-icon",
        Some("woff2") => "font/woff2",
        Some("webmanifest") => "application/manifest+json",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_outside_of_the_folder_is_named() {
        let root = Path::new("/srv/pages");
        assert_eq!(below(root, "/"), Some("/srv/pages/index.html".into()));
        assert_eq!(below(root, "/assets/a.js"), Some("/srv/pages/assets/a.js".into()));
        for path in ["/../secret", "/assets/../../secret", "/.env", "/a/.git/config"] {
            assert_eq!(below(root, path), None, "{path}");
        }
        // Not resolved, so a file of this very name is asked for.
        assert_eq!(below(root, "/%2e%2e/secret"), Some("/srv/pages/%2e%2e/secret".into()));
        assert_eq!(below(root, "//etc/passwd"), Some("/srv/pages/etc/passwd".into()));
    }

    #[tokio::test]
    async fn files_are_served_with_their_type_and_others_are_missing() {
        let folder = tempfile::tempdir().unwrap();
        // The folder's own place says nothing about what is in it.
        let root = folder.path().join("assets/ui");
        std::fs::create_dir_all(root.join("assets")).unwrap();
        std::fs::write(root.join("index.html"), "<p>").unwrap();
        std::fs::write(root.join("assets/a.wasm"), "x").unwrap();
        let ask =
            async |path: &'static str| page(&root, &Method::GET, &Uri::from_static(path)).await;
        let index = ask("/").await;
        assert_eq!(index.headers()[header::CONTENT_TYPE], "text/html; charset=utf-8");
        assert_eq!(index.headers()[header::CACHE_CONTROL], "no-cache");
        let wasm = ask("/assets/a.wasm").await;
        assert_eq!(wasm.headers()[header::CONTENT_TYPE], "application/wasm");
        let caching = wasm.headers()[header::CACHE_CONTROL].to_str().unwrap();
        assert!(caching.ends_with("immutable"), "{caching}");
        assert_eq!(ask("/assets").await.status(), StatusCode::NOT_FOUND);
        assert_eq!(ask("/b.js").await.status(), StatusCode::NOT_FOUND);
        let post = page(&root, &Method::POST, &Uri::from_static("/")).await;
        assert_eq!(post.status(), StatusCode::METHOD_NOT_ALLOWED);
    }
}

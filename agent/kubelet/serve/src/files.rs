//! The machine's logs: `GET /logs/`. Enters: a path below the log directory. Leaves: a file, or a directory's listing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path as UrlPath, State};
use axum::response::Response;
use http::StatusCode;
use tokio_util::io::ReaderStream;

use crate::respond;
use crate::router::Context;

/// `GET /logs/`.
pub(crate) async fn root(State(context): State<Arc<Context>>) -> Response {
    serve(&context.log_directory, "").await
}

/// `GET /logs/{*path}`.
pub(crate) async fn below(State(context): State<Arc<Context>>, UrlPath(path): UrlPath<String>) -> Response {
    serve(&context.log_directory, &path).await
}

async fn serve(root: &Path, path: &str) -> Response {
    match open(root, path).await {
        Ok(response) => response,
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            respond::text(StatusCode::FORBIDDEN, "403 Forbidden\n")
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            respond::text(StatusCode::NOT_FOUND, "404 page not found\n")
        }
        Err(error) => respond::text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

async fn open(root: &Path, path: &str) -> std::io::Result<Response> {
    let file = resolve(root, path).await?;
    let metadata = tokio::fs::metadata(&file).await?;
    if metadata.is_dir() {
        return listing(&file).await;
    }
    if !metadata.is_file() {
        // a fifo or device would block or never end
        return Err(std::io::ErrorKind::PermissionDenied.into());
    }
    let body = Body::from_stream(ReaderStream::with_capacity(tokio::fs::File::open(&file).await?, 64 * 1024));
    Ok(respond::with_type(StatusCode::OK, "text/plain; charset=utf-8", body))
}

/// The real path, which must lie in the directory: links out of it are refused, where upstream follows them.
async fn resolve(root: &Path, path: &str) -> std::io::Result<PathBuf> {
    let root = tokio::fs::canonicalize(root).await?;
    let file = tokio::fs::canonicalize(root.join(path.trim_start_matches('/'))).await?;
    if file.starts_with(&root) { Ok(file) } else { Err(std::io::ErrorKind::PermissionDenied.into()) }
}

async fn listing(directory: &Path) -> std::io::Result<Response> {
    let mut entries = tokio::fs::read_dir(directory).await?;
    let mut names = Vec::new();
    while let Some(entry) = entries.next_entry().await? {
        let slash = if entry.file_type().await?.is_dir() { "/" } else { "" };
        names.push(format!("{}{slash}", entry.file_name().to_string_lossy()));
    }
    names.sort();
    let lines = names.iter().map(|name| format!("<a href=\"{}\">{}</a>\n", link(name), html(name)));
    let page = format!(
        "<!doctype html>\n<meta name=\"viewport\" content=\"width=device-width\">\n<pre>\n{}</pre>\n",
        lines.collect::<String>()
    );
    Ok(respond::with_type(StatusCode::OK, "text/html; charset=utf-8", page))
}

fn html(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&#34;")
        .replace('\'', "&#39;")
}

fn link(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    name.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    async fn get(root: &Path, path: &str) -> (u16, String) {
        let response = serve(root, path).await;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn files_and_listings_but_nothing_outside() {
        let machine = tempfile::tempdir().unwrap();
        let root = machine.path().join("log");
        std::fs::create_dir_all(root.join("pods")).unwrap();
        std::fs::write(root.join("a<b>.log"), "hello").unwrap();
        std::fs::write(machine.path().join("shadow"), "secret").unwrap();
        std::os::unix::fs::symlink("../shadow", root.join("out")).unwrap();
        std::os::unix::fs::symlink("a<b>.log", root.join("in")).unwrap();
        assert_eq!(get(&root, "a<b>.log").await, (200, "hello".to_owned()));
        assert_eq!(get(&root, "in").await, (200, "hello".to_owned()));
        let (status, page) = get(&root, "").await;
        assert_eq!(status, 200);
        assert!(page.contains("<a href=\"a%3Cb%3E.log\">a&lt;b&gt;.log</a>\n<a href=\"in\">"), "{page}");
        assert!(page.contains("<a href=\"pods/\">pods/</a>"), "{page}");
        for outside in ["../shadow", "out", "pods/../../shadow"] {
            assert_eq!(get(&root, outside).await.0, 403, "{outside}");
        }
        assert_eq!(get(&root, "/etc/passwd").await.0, 404, "an absolute path is one below the directory");
        assert_eq!(get(&root, "none").await.0, 404);
    }
}

//! Files on a disk, which may be slow: other threads wait for it.

use std::future::Future;
use std::io::{self, SeekFrom};
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncSeek, ReadBuf};
use tower_http::services::fs::{Backend, File, TokioBackend};

use crate::sys;

/// What the system knows of a file.
type Metadata = <TokioBackend as Backend>::Metadata;

/// Where `ServeDir` finds files.
#[derive(Debug, Clone)]
pub(super) struct Disk;

/// A regular file.
#[derive(Debug)]
pub(super) struct DiskFile(tokio::fs::File);

type Later<'a, T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send + 'a>>;

impl Backend for Disk {
    type File = DiskFile;
    type Metadata = Metadata;
    type OpenFuture = Later<'static, DiskFile>;
    type MetadataFuture = Later<'static, Metadata>;

    fn open(&self, path: PathBuf) -> Self::OpenFuture {
        Box::pin(async move {
            let opening = tokio::task::spawn_blocking(move || sys::file::open_regular(&path));
            let file = opening.await.map_err(io::Error::other)??;
            Ok(DiskFile(tokio::fs::File::from_std(file)))
        })
    }

    fn metadata(&self, path: PathBuf) -> Self::MetadataFuture {
        Box::pin(async move {
            let metadata = TokioBackend.metadata(path).await?;
            if metadata.is_dir() || metadata.is_file() {
                Ok(metadata)
            } else {
                Err(io::ErrorKind::NotFound.into())
            }
        })
    }
}

impl File for DiskFile {
    type Metadata = Metadata;
    type MetadataFuture<'a> = Later<'a, Metadata>;

    fn metadata(&self) -> Self::MetadataFuture<'_> {
        Box::pin(self.0.metadata())
    }
}

impl AsyncRead for DiskFile {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncSeek for DiskFile {
    fn start_seek(mut self: Pin<&mut Self>, position: SeekFrom) -> io::Result<()> {
        Pin::new(&mut self.0).start_seek(position)
    }

    fn poll_complete(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<u64>> {
        Pin::new(&mut self.0).poll_complete(context)
    }
}

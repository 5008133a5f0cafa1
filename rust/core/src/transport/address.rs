//! Where a bus lives: a socket path on Unix, a pipe name on Windows.
//!
//! An address is checked and made absolute once, at construction: what it names later does not depend on the working
//! directory, and nothing is ever cut to fit the kernel's address structure.
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

#[cfg(any(windows, test))]
mod pipe;

/// What fits into the kernel's address structure with its terminator: 108 bytes on Linux, 104 on the BSDs and Apple's systems.
#[cfg(any(target_os = "linux", target_os = "android"))]
const LIMIT: usize = 107;
#[cfg(all(unix, not(any(target_os = "linux", target_os = "android"))))]
const LIMIT: usize = 103;

const INSTANCE_LIMIT: usize = 64;

/// The checked and absolute name of a bus.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    path: PathBuf,
}

impl Address {
    /// A socket's path on Unix, the full name of a local pipe on Windows. Relative paths are made absolute at once. Refuses empty, NUL,
    /// and more than the platform's limit, naming it.
    pub fn from_path(path: &Path) -> Result<Self> {
        let given = path.as_os_str().as_encoded_bytes();
        let refuse = |reason: &str| {
            Err(Error::PathRefused {
                path: path.to_path_buf(),
                reason: reason.to_owned(),
            })
        };
        if given.is_empty() {
            return refuse("it is empty; give the path of the broker's socket");
        }
        if given.contains(&0) {
            return refuse(
                "it contains a NUL byte; give a file path (abstract socket names have no permissions and are not used)",
            );
        }
        Self::of_platform(path)
    }

    #[cfg(unix)]
    fn of_platform(path: &Path) -> Result<Self> {
        if path.as_os_str().as_encoded_bytes().ends_with(b"/") || path.file_name().is_none() {
            return Err(Error::PathRefused {
                path: path.to_path_buf(),
                reason: "it names a directory; add the name of a socket file".into(),
            });
        }
        let absolute = std::path::absolute(path).map_err(|cause| {
            Error::io(
                format!(
                    "make {} absolute against the working directory",
                    crate::printable::path_text(path)
                ),
                &cause,
            )
        })?;
        let length = absolute.as_os_str().as_encoded_bytes().len();
        if length > LIMIT {
            return Err(Error::PathRefused {
                reason: format!("it has {length} bytes and the limit is {LIMIT}; choose a shorter path"),
                path: absolute,
            });
        }
        Ok(Self { path: absolute })
    }

    #[cfg(windows)]
    fn of_platform(path: &Path) -> Result<Self> {
        path.to_str()
            .ok_or_else(|| "it is not Unicode; choose another name".to_owned())
            .and_then(pipe::canonical)
            .map(|name| Self { path: name.into() })
            .map_err(|reason| Error::PathRefused {
                path: path.to_path_buf(),
                reason,
            })
    }

    /// `/tmp/daemoneye-{instance}.sock`, `\\.\pipe\DaemonEye-{instance}`; instance: 1..64 of `[A-Za-z0-9._-]`, not starting with a dot.
    pub fn from_instance(instance: &str) -> Result<Self> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if instance.is_empty() || instance.len() > INSTANCE_LIMIT {
            return Err(Error::invalid(
                "instance",
                format!("it has {} bytes; give 1 to {INSTANCE_LIMIT}", instance.len()),
            ));
        }
        if instance.starts_with('.') || !instance.bytes().all(allowed) {
            return Err(Error::invalid(
                "instance",
                format!("{instance:?} must be made of A-Z, a-z, 0-9, '.', '_' and '-', and not start with a dot"),
            ));
        }
        Self::from_path(&Self::instance_path(instance))
    }

    #[cfg(unix)]
    fn instance_path(instance: &str) -> PathBuf {
        format!("/tmp/daemoneye-{instance}.sock").into()
    }

    #[cfg(windows)]
    fn instance_path(instance: &str) -> PathBuf {
        format!("{}DaemonEye-{instance}", pipe::PREFIX).into()
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

//! Where a bus lives: a socket path on Unix, a pipe name on Windows.
use std::path::{Path, PathBuf};

use crate::error::Result;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    path: PathBuf,
}

impl Address {
    /// Relative paths are made absolute at once. Refuses empty, NUL, and more bytes than the platform's limit, naming it.
    pub fn from_path(_path: &Path) -> Result<Self> {
        todo!()
    }
    /// `/tmp/daemoneye-{instance}.sock`, `\\.\pipe\DaemonEye-{instance}`; instance: 1..64 of `[A-Za-z0-9._-]`, not starting with a dot.
    pub fn from_instance(_instance: &str) -> Result<Self> {
        todo!()
    }
    pub fn path(&self) -> &Path {
        &self.path
    }
}

//! Reads files of settings, and reports their faults with file and line.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// A fault in a file, and its place: `FILE:LINE: why`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileError {
    /// The file.
    pub file: PathBuf,
    /// The line, counted from 1; none if the fault concerns the whole file.
    pub line: Option<usize>,
    /// The explanation, for the person who reads it.
    pub why: String,
}

impl FileError {
    pub fn at(file: &Path, line: usize, why: impl Into<String>) -> FileError {
        FileError { file: file.to_owned(), line: Some(line), why: why.into() }
    }

    pub fn of(file: &Path, why: impl Into<String>) -> FileError {
        FileError { file: file.to_owned(), line: None, why: why.into() }
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        write!(f, " {}", self.why)
    }
}

impl std::error::Error for FileError {}

/// Reads a whole file.
pub fn read(file: &Path) -> Result<Vec<u8>, FileError> {
    fs::read(file).map_err(|error| FileError::of(file, format!("cannot be read: {error}")))
}

/// Returns the line, counted from 1, of the byte at `offset`.
pub fn line_of(text: &[u8], offset: usize) -> usize {
    1 + text[..offset.min(text.len())].iter().filter(|&&byte| byte == b'\n').count()
}

//! Where the master of a configuration can be reached, found even in a file that has errors: somebody who has broken a
//! file must still be able to ask, reload and stop the server that runs.

use std::path::PathBuf;

use super::errors::{ConfigErrors, Problems};
use super::notation::Text;
use super::sources::{self, Sources};
use super::{decode, document, resolve};

/// What names the master of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// The file, absolute.
    pub file: PathBuf,
    /// `process.control_socket`.
    pub control_socket: Option<PathBuf>,
    /// What is wrong with the file when it is no TOML, so that the rest is a guess.
    pub errors: Option<ConfigErrors>,
}

/// Finds it.
///
/// # Errors
/// There is no file, or it cannot be read.
pub fn locate(sources: &Sources) -> Result<Located, ConfigErrors> {
    let mut problems = Problems::default();
    match sources::read(sources, &mut problems) {
        Some(text) => Ok(located(&text, sources)),
        None => Err(problems.into_errors()),
    }
}

/// What names the master of an application that was started in this folder by its name, without a file. None where a file is named, or
/// is here.
pub fn locate_without_file(sources: &Sources) -> Option<Located> {
    let text = sources::instead_of_file(sources)?;
    Some(located(&text, sources))
}

fn located(text: &sources::Text, sources: &Sources) -> Located {
    let mut problems = Problems::default();
    let (mut document, errors) = match document::parse(text, &sources.folder, &mut problems) {
        Some(document) => (document, None),
        None => (
            document::guess(text, &sources.folder),
            Some(problems.into_errors()),
        ),
    };
    let mut ignored = Problems::default();
    document.override_with(sources, &mut ignored);
    let mut file = decode::decode(&mut document, &mut ignored);
    resolve::make_absolute(&mut file, &document);
    Located {
        file: document.file.clone(),
        control_socket: file
            .process
            .control_socket
            .map(|Text(path)| PathBuf::from(path)),
        errors,
    }
}

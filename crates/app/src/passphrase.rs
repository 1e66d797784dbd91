//! Asking people for what must not be seen.

use std::{io::IsTerminal, path::Path};

use pentad_model::Secret;
use zeroize::Zeroizing;

use crate::failure::Failure;

/// Asks without echo.
pub(crate) fn ask(prompt: &str) -> Result<Secret, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage(format!(
            "there is no terminal to ask for: {prompt}"
        )));
    }
    let typed = rpassword::prompt_password(format!("{prompt}: "))
        .map_err(|error| Failure::file("the terminal", &error))?;
    Ok(Secret::new(typed))
}

/// Asks twice, so that a slip is not kept for ever.
pub(crate) fn ask_twice(prompt: &str) -> Result<Secret, Failure> {
    let first = ask(prompt)?;
    if ask(&format!("{prompt} (again)"))? != first {
        return Err(Failure::usage("the two entries differ").hint("try again; nothing was changed"));
    }
    Ok(first)
}

/// The first line of a file that its owner alone can read.
pub(crate) fn from_file(path: &Path) -> Result<Secret, Failure> {
    use std::os::unix::fs::PermissionsExt as _;
    let name = path.display();
    let failed = |error| Failure::file(name.to_string(), &error);
    let mode = std::fs::metadata(path)
        .map_err(failed)?
        .permissions()
        .mode();
    if mode & 0o077 != 0 {
        return Err(Failure::new(
            crate::failure::Exit::Denied,
            format!("{name} is open to other users (mode {:04o})", mode & 0o7777),
        )
        .hint(format!("chmod 600 {name}")));
    }
    let bytes = Zeroizing::new(std::fs::read(path).map_err(failed)?);
    let line = bytes
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    Ok(Secret::new(line.strip_suffix(b"\r").unwrap_or(line)))
}

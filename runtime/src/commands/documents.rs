//! `completion` and `man`: what a shell completes, and pages for man(1), made of the command line's own description.

use std::{
    fs::{self, File},
    io::{Write, stdout},
    path::Path,
};

use anyhow::{Context, Result};
use clap::Command;
use clap_complete::Shell;

const NAME: &str = "ringfence";

/// Prints a shell's completions.
pub(crate) fn completion(mut command: Command, shell: Shell) -> Result<i32> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command, NAME, &mut text);
    stdout().write_all(&text).context("standard output")?;
    Ok(0)
}

/// Prints the main page, or writes the page of each command into a directory.
pub(crate) fn man(command: Command, directory: Option<&Path>) -> Result<i32> {
    let command = command.disable_help_subcommand(true);
    let Some(directory) = directory else {
        let mut text = Vec::new();
        clap_mangen::Man::new(command).render(&mut text)?;
        stdout().write_all(&text).context("standard output")?;
        return Ok(0);
    };
    fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    for (name, page) in pages(command)? {
        let path = directory.join(&name);
        File::create(&path)
            .and_then(|mut file| file.write_all(&page))
            .with_context(|| path.display().to_string())?;
    }
    Ok(0)
}

/// The pages by the names of their files.
fn pages(mut command: Command) -> Result<Vec<(String, Vec<u8>)>> {
    // Flags of every command belong to each page.
    command.build();
    let mut pages = Vec::new();
    let mut main = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut main)?;
    pages.push((format!("{NAME}.1"), main));
    for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set()) {
        let name = inner.get_display_name().unwrap_or_else(|| inner.get_name()).to_owned();
        let mut page = Vec::new();
        clap_mangen::Man::new(inner.clone()).render(&mut page)?;
        pages.push((format!("{name}.1"), page));
    }
    Ok(pages)
}

#[cfg(test)]
mod tests {
    #[test]
    fn each_command_has_a_page() {
        let pages = super::pages(crate::cli::command()).unwrap();
        let names: Vec<_> = pages.iter().map(|(name, _)| name.as_str()).collect();
        for name in ["ringfence.1", "ringfence-run.1", "ringfence-events.1", "ringfence-debug.1"] {
            assert!(names.contains(&name), "{names:?}");
        }
        for (name, page) in &pages {
            let text = String::from_utf8_lossy(page);
            assert!(text.contains(".SH NAME") && text.contains(".SH SYNOPSIS"), "{name}");
        }
    }
}

//! Completions and man pages, from what `--help` is made of.
//!
//! Made when a package is made, by a program of its own: the daemon carries
//! none of it, and a box gets files like any other.
//!
//! Invariant: `bash/homeostat`, `zsh/_homeostat`, `fish/homeostat.fish` and
//! `man/homeostat*.1`, as distributions look for them, and nothing else.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::{Command, CommandFactory};
use clap_complete::aot::{Shell, generate};
use clap_mangen::Man;

use super::args::Cli;

const SHELLS: [(Shell, &str); 3] = [
    (Shell::Bash, "bash/homeostat"),
    (Shell::Zsh, "zsh/_homeostat"),
    (Shell::Fish, "fish/homeostat.fish"),
];

/// `homeostat-docs DIR`
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let Some(dir) = args.into_iter().nth(1) else {
        eprintln!("homeostat-docs: wanted the folder to write to, found no argument");
        return ExitCode::from(2);
    };
    match write(Path::new(&dir)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("homeostat-docs: cannot write to {}: {error}", dir.display());
            ExitCode::FAILURE
        }
    }
}

fn write(dir: &Path) -> io::Result<()> {
    for (shell, path) in SHELLS {
        let mut file = create(&dir.join(path))?;
        let mut command = Cli::command();
        generate(shell, &mut command, "homeostat", &mut file);
        file.flush()?;
    }
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    pages(&command, &dir.join("man"))
}

/// One of the whole, and one of each verb: `man homeostat-workload-stop`.
fn pages(command: &Command, dir: &Path) -> io::Result<()> {
    // A date would make two builds of one source differ.
    let page = Man::new(command.clone()).manual("Homeostat").date("");
    let mut file = create(&dir.join(page.get_filename()))?;
    page.render(&mut file)?;
    file.flush()?;
    command.get_subcommands().filter(|verb| !verb.is_hide_set()).try_for_each(|it| pages(it, dir))
}

fn create(path: &Path) -> io::Result<File> {
    fs::create_dir_all(path.parent().unwrap_or(path))?;
    File::create(path)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::process::{Command as Process, Stdio};

    use super::*;

    fn written() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path()).unwrap();
        dir
    }

    /// Every verb's name, those below a verb behind its name.
    fn verbs(command: &Command, name: &str, found: &mut BTreeSet<String>) {
        found.insert(name.to_owned());
        for verb in command.get_subcommands() {
            verbs(verb, &format!("{name}-{}", verb.get_name()), found);
        }
    }

    #[test]
    fn each_verb_has_a_page_with_its_help_and_the_first_has_the_exit_codes() {
        let dir = written();
        let mut wanted = BTreeSet::new();
        verbs(&Cli::command(), "homeostat", &mut wanted);
        let found: BTreeSet<String> = fs::read_dir(dir.path().join("man"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .map(|name| name.strip_suffix(".1").unwrap().to_owned())
            .collect();
        assert_eq!(found, wanted);
        let page = |name: &str| fs::read_to_string(dir.path().join("man").join(name)).unwrap();
        assert!(page("homeostat.1").contains("no daemon answers"));
        assert!(page("homeostat-pause.1").contains("Heal nothing until resumed"));
        assert!(page("homeostat-config-show.1").contains("origin"));
    }

    #[test]
    fn each_shell_can_complete_every_verb() {
        let dir = written();
        for (_, path) in SHELLS {
            let text = fs::read_to_string(dir.path().join(path)).unwrap();
            for verb in Cli::command().get_subcommands() {
                assert!(text.contains(verb.get_name()), "{path} lacks {}", verb.get_name());
            }
        }
        // A shell that is here finds no mistake in it.
        for (shell, args, path) in [("bash", "-n", SHELLS[0].1), ("zsh", "-n", SHELLS[1].1)] {
            let checked = Process::new(shell)
                .arg(args)
                .arg(dir.path().join(path))
                .stderr(Stdio::piped())
                .output();
            if let Ok(output) = checked {
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            }
        }
    }

    #[test]
    fn two_runs_write_the_same() {
        let read = |dir: &Path| fs::read(dir.join("man/homeostat.1")).unwrap();
        assert_eq!(read(written().path()), read(written().path()));
    }
}

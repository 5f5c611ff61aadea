//! Broken syntax is told, and hides nothing else.

use super::*;

#[test]
fn all_mistakes_are_told_together_and_in_order() {
    let found = mistakes(
        r#"[box]
mode = "enforced"
nam = "x"
[[workload]]
name = "a"
command = ["/a"]
needs = ["b"]
[[workload]]
name = "b"
command = ["/b"]
needs = ["c", "cam"]
[[workload]]
name = "c"
command = ["c"]
needs = ["a"]
[[workload]]
name = "a"
command = ["/a"]
[[external]]
name = "camera"
probe = [{ kind = "tcp", address = "h:1" }]
"#,
    );
    let starts = [
        "2:8 box.mode: wanted one of observe, suggest, enforce, found \"enforced\" | did you mean `enforce`?",
        "3:1 box: wanted a known key, found `nam` | did you mean `name`?",
        "11:15 workload.b.needs: wanted workloads, externals and links of this file, found \"cam\" | did you mean `camera`?",
        "14:11 workload.c.command: wanted a program by its absolute path, found \"c\"",
        "15:10 workload.c.needs: wanted needs that lead nowhere back, found a circle: a → b → c → a",
        "17:8 workload.a.name: wanted a name of its own, found \"a\" again | the first is in line 5",
    ];
    assert_eq!(found.len(), starts.len(), "{found:#?}");
    for (found, start) in found.iter().zip(starts) {
        assert!(found.starts_with(start), "wanted\n  {start}\nfound\n  {found}");
    }
}

#[test]
fn a_syntax_error_is_one_mistake_with_its_line() {
    for text in ["[box]\nmode = \n", "[box]\nmode = \"observe\"\nmode = \"b\"\n", "[box\n"] {
        let found = mistakes(text);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with(['1', '2', '3']), "{found:?}");
    }
    let shown = read("[box]\nmode = \n").unwrap_err().to_string();
    assert!(shown.starts_with("/etc/homeostat/box.toml:2:"), "{shown}");
    assert!(shown.ends_with("1 mistake in the configuration"), "{shown}");
}

#[test]
fn broken_syntax_hides_no_other_mistake_and_makes_none() {
    let workload = "[[workload]]\nname = \"w\"\ncommand = [\"/w\"]\n";
    for (story, text, expected) in [
        (
            "no quotes",
            "[box]\nmode = enforce\n[guard]\ncooldown_s = true\n[[workload]]\nname = \"w\"\nneeds = [\"x\"]\n",
            &["2:8 : wanted TOML", "4:14 guard.cooldown_s", "5:1 workload.w.command: wanted"][..],
        ),
        (
            "two that are broken",
            "[box]\nmode = enforce\nsite = \"a\nprofile = 3\n[guard]\nnonsense = 1\n",
            &["2:8 : wanted TOML", "3:10 : wanted TOML", "6:1 guard: wanted a known key"],
        ),
        (
            "a table's header",
            "[box\nmode = 3\nnonsense = 1\n[guard]\nnonsense = 1\n",
            &["1:5 : wanted TOML", "5:1 guard"],
        ),
        (
            "a list's header, with tables below it",
            &format!(
                "[guard]\nnonsense = 1\n[box]\nmode = 3\n[[workload]\nname = 3\n[workload.limits]\nx = 1\n{workload}"
            ),
            &["2:1 guard", "5:12 : wanted TOML"],
        ),
        (
            "a list that does not end",
            "[box]\nmode = \"enforce\"\n[source]\nfilesystems = [\"/\"\nperiod_s = true\n[guard]\n\nnonsense = 1\n",
            &["5:1 : wanted TOML", "8:1 guard: wanted a known key"],
        ),
        (
            "a comma in a list over lines",
            "[box]\nmode = 3\n[source]\nfilesystems = [\n  \"/\"\n  \"/var\",\n]\n[guard]\nnonsense = 1\n",
            &["2:8 box.mode", "6:3 : wanted TOML", "9:1 guard: wanted a known key"],
        ),
        (
            "a text over lines that does not end",
            "[box]\nmode = \"\"\"enforce\n[guard]\nnonsense = 1\n",
            &["4:1 guard: wanted a known key", "5:1 : wanted TOML"],
        ),
        (
            "twice",
            "[box]\nmode = \"enforce\"\nmode = 3\n[guard]\nnonsense = 1\n",
            &["3:1 : wanted TOML", "5:1 guard"],
        ),
    ] {
        let found = mistakes(text);
        assert_eq!(found.len(), expected.len(), "{story}: {found:#?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.starts_with(expected), "{story}: wanted\n  {expected}\nfound\n  {found}");
        }
    }
}

#[test]
fn a_file_that_is_nothing_but_broken_is_told_so_in_few_words() {
    let found = mistakes(&"# é\n= ü\n\r\n".repeat(500));
    assert_eq!(found.len(), 16);
    assert!(found.iter().all(|one| one.contains("wanted TOML")), "{found:#?}");
}

/// The shipped file with its examples in force, and the folder of its key.
fn shipped_examples() -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let key_file = dir.path().join("key.pub");
    std::fs::write(&key_file, format!("{KEY}\n")).unwrap();
    let examples: String = include_str!("../../../../deploy/homeostat.toml")
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(example) if !example.starts_with(' ') => format!("{example}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let examples =
        examples.replace("/etc/homeostat/homeostat.pub", key_file.to_str().expect("UTF-8"));
    (dir, examples)
}

#[test]
fn whichever_line_is_broken_nothing_else_is_said_to_be_wrong() {
    let (_dir, examples) = shipped_examples();
    let lines: Vec<&str> = examples.lines().collect();
    let mut broken = 0;
    for (number, line) in lines.iter().enumerate().filter(|(_, line)| !line.starts_with('#')) {
        let uncommented = line.split(" #").next().unwrap_or_default().trim_end();
        let half = uncommented.floor_char_boundary(uncommented.len() / 2);
        let most = uncommented.floor_char_boundary(uncommented.len().saturating_sub(1));
        for cut in [&uncommented[..half], &uncommented[..most]] {
            let mut lines = lines.clone();
            lines[number] = cut;
            let Err(Mistakes { mistakes }) = read(&lines.join("\n")) else { continue };
            let is_syntax = |mistake: &Mistake| mistake.wanted == "TOML";
            if mistakes.iter().any(is_syntax) {
                broken += 1;
                let others: Vec<_> = mistakes.iter().filter(|it| !is_syntax(it)).collect();
                assert!(others.is_empty(), "{} as {cut:?}: {others:#?}", number + 1);
                assert_eq!(mistakes.len(), 1, "{} as {cut:?}: {mistakes:#?}", number + 1);
            }
        }
    }
    assert!(broken > 100, "{broken}");
}

#[test]
fn the_shipped_file_is_good_as_it_is_and_with_its_examples() {
    let shipped = include_str!("../../../../deploy/homeostat.toml");
    assert_eq!(good(shipped).mode, Mode::Observe);

    let (_dir, examples) = shipped_examples();
    let config = good(&examples);
    // Whatever can be written can be shown: a new kind of value is noted, too.
    let shown = super::super::read(Path::new("/f"), &examples, &machine()).unwrap().1;
    let lines: BTreeSet<usize> = shown
        .tables
        .iter()
        .flat_map(|table| &table.values)
        .filter_map(|shows| match shows.origin {
            ValueOrigin::File { line } => Some(line),
            _ => None,
        })
        .collect();
    for (line, text) in (1..).zip(examples.lines()) {
        let is_value = text.contains(" = ") && !text.starts_with('#');
        assert!(!is_value || lines.contains(&line), "line {line} is not shown: {text}");
    }
    assert_eq!((config.plugins.len(), config.workloads.len(), config.externals.len()), (6, 2, 1));
    // What it calls a default is one.
    let bare = good("box.mode = \"observe\"");
    assert_eq!(config.paths.state, bare.paths.state);
    let calm = good(&examples.replace("profile = \"fast\"", ""));
    assert_eq!(calm.guard.cooldown_ms, bare.guard.cooldown_ms);
    assert_eq!(calm.guard.rate_max, bare.guard.rate_max);
    assert_eq!(calm.guard.rate_window_ms, bare.guard.rate_window_ms);
    assert_eq!(calm.guard.boot_grace_ms, bare.guard.boot_grace_ms);
    assert_eq!(calm.incident.hold_ms, bare.incident.hold_ms);
    assert_eq!(calm.incident.proofs_wanted, bare.incident.proofs_wanted);
}

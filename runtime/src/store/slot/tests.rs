use super::*;

fn paths(dir: &tempfile::TempDir) -> (PathBuf, [PathBuf; 2]) {
    let path = dir.path().join("slot");
    (path, ["slot.a", "slot.b"].map(|name| dir.path().join(name)))
}

/// A slot that was updated `updates` times.
fn written(updates: u64) -> (tempfile::TempDir, PathBuf, [PathBuf; 2]) {
    let dir = tempfile::tempdir().unwrap();
    let (path, copies) = paths(&dir);
    let (mut slot, conditions) = Slot::open(&path).unwrap();
    assert_eq!((slot.origin(), conditions), (Origin::Fresh, vec![]));
    for n in 1..=updates {
        slot.update(|floors| {
            floors.birth = n;
            floors.plugin_sequence.insert("liveness".into(), n * 10);
        })
        .unwrap();
        assert_eq!(slot.condition(), None);
    }
    (dir, path, copies)
}

fn birth(path: &Path) -> u64 {
    Slot::open(path).unwrap().0.floors().birth
}

#[test]
fn floors_come_back_after_every_update() {
    for updates in 0..5 {
        let (_dir, path, _) = written(updates);
        let (slot, conditions) = Slot::open(&path).unwrap();
        assert_eq!((slot.origin(), conditions), (Origin::Found, vec![]));
        assert_eq!(slot.floors().birth, updates);
    }
}

#[test]
fn one_bad_copy_is_repaired_and_told_whatever_is_wrong_with_it() {
    for copy in 0..2 {
        for damage in ["flip", "cut", "empty", "garbage", "missing", "long"] {
            let (_dir, path, copies) = written(7);
            let mut bytes = fs::read(&copies[copy]).unwrap();
            match damage {
                "flip" => bytes[40] ^= 1,
                "cut" => bytes.truncate(60),
                "empty" => bytes.clear(),
                "garbage" => bytes.fill(0x5A),
                "long" => bytes.resize(3 << 20, 0),
                _ => {}
            }
            fs::write(&copies[copy], bytes).unwrap();
            if damage == "missing" {
                fs::remove_file(&copies[copy]).unwrap();
            }
            let (slot, conditions) = Slot::open(&path).unwrap();
            assert_eq!(slot.floors().birth, 7, "{damage} {copy}");
            assert_eq!(conditions.len(), 1, "{damage} {copy}");
            assert_eq!(conditions[0].name, "trust.slot-repaired");
            assert_eq!(Slot::open(&path).unwrap().1, [], "{damage} {copy}: repaired");
        }
    }
}

#[test]
fn a_flip_of_any_byte_of_one_copy_loses_nothing() {
    let (_dir, path, copies) = written(3);
    let bytes = fs::read(&copies[1]).unwrap();
    for at in 0..200 {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        fs::write(&copies[1], flipped).unwrap();
        assert_eq!(birth(&path), 3, "byte {at}");
    }
}

#[test]
fn a_crash_between_the_copies_leaves_the_newer_one() {
    let (_dir, path, copies) = written(4);
    let before = copies.each_ref().map(|copy| fs::read(copy).unwrap());
    Slot::open(&path).unwrap().0.update(|floors| floors.birth = 5).unwrap();
    let after = copies.each_ref().map(|copy| fs::read(copy).unwrap());
    for (a, b) in [(&before[0], &after[1]), (&after[0], &before[1])] {
        fs::write(&copies[0], a).unwrap();
        fs::write(&copies[1], b).unwrap();
        let (slot, conditions) = Slot::open(&path).unwrap();
        assert_eq!((slot.floors().birth, conditions), (5, vec![]));
        // Both are brought up, so the next loss of one costs nothing.
        fs::write(&copies[0], b"").unwrap();
        assert_eq!(birth(&path), 5);
    }
}

#[test]
fn two_bad_copies_are_an_error_that_says_what_to_do_and_never_a_fresh_start() {
    for (first, second) in [("x", "y"), ("", ""), ("x", "-"), ("-", "x")] {
        let (_dir, path, copies) = written(2);
        for (copy, text) in copies.iter().zip([first, second]) {
            match text {
                "-" => fs::remove_file(copy).unwrap(),
                text => fs::write(copy, text).unwrap(),
            }
        }
        let error = Slot::open(&path).unwrap_err();
        assert!(matches!(error, SlotError::BothDamaged { .. }), "{error}");
        let text = error.to_string();
        for word in ["wanted", "found", "restore", "slot.a", "slot.b"] {
            assert!(text.contains(word), "{text}");
        }
        // Nothing was touched.
        assert!(matches!(Slot::open(&path), Err(SlotError::BothDamaged { .. })));
    }
}

#[test]
fn a_floor_that_would_go_back_is_refused_and_nothing_changes() {
    let (_dir, path, copies) = written(2);
    let (mut slot, _) = Slot::open(&path).unwrap();
    let before = copies.each_ref().map(|copy| fs::read(copy).unwrap());
    let lower: [fn(&mut Floors); 3] = [
        |floors| floors.birth = 1,
        |floors| _ = floors.plugin_sequence.insert("liveness".into(), 19),
        |floors| floors.plugin_sequence.clear(),
    ];
    for change in lower {
        assert!(matches!(slot.update(change), Err(SlotError::GoesBack { .. })));
        assert_eq!(slot.floors().birth, 2);
    }
    assert_eq!(copies.each_ref().map(|copy| fs::read(copy).unwrap()), before);
}

#[test]
fn a_slot_of_a_newer_version_is_not_taken_for_damage() {
    let (_dir, path, copies) = written(1);
    for copy in &copies {
        let mut bytes = fs::read(copy).unwrap();
        bytes[12..16].copy_from_slice(&3_u32.to_le_bytes());
        let crc = crc32fast::hash(&bytes[12..]);
        bytes[8..12].copy_from_slice(&crc.to_le_bytes());
        fs::write(copy, bytes).unwrap();
    }
    assert!(matches!(Slot::open(&path), Err(SlotError::Newer { found: 3, .. })));
}

#[test]
fn a_folder_that_is_not_there_is_a_clear_error() {
    let dir = tempfile::tempdir().unwrap();
    let error = Slot::open(&dir.path().join("none/slot")).unwrap_err();
    assert!(matches!(error, SlotError::Io { doing: "create", .. }), "{error}");
}

#[test]
fn many_plugins_make_the_copies_grow_and_come_back() {
    let (_dir, path, copies) = written(1);
    let (mut slot, _) = Slot::open(&path).unwrap();
    slot.update(|floors| {
        for n in 0..500 {
            floors.plugin_sequence.insert(format!("plugin-{n}"), n);
        }
    })
    .unwrap();
    assert!(fs::metadata(&copies[0]).unwrap().len() > BLOCK as u64);
    assert_eq!(Slot::open(&path).unwrap().0.floors(), slot.floors());
}

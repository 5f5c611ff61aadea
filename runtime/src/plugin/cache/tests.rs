use std::os::unix::fs::PermissionsExt;

use super::*;

const DIGEST: &str = "aa11";

fn cache(state: &Path) -> Cache {
    Cache::open(state, "engine 1".into()).unwrap()
}

fn dropped(found: Found) -> bool {
    matches!(found, Found::Dropped(_))
}

#[test]
fn what_was_sealed_comes_back_after_a_restart() {
    let state = tempfile::tempdir().unwrap();
    cache(state.path()).put(DIGEST, b"code").unwrap();
    assert_eq!(cache(state.path()).get(DIGEST), Found::Code(b"code".to_vec()));
    assert_eq!(cache(state.path()).get("bb22"), Found::Nothing);
}

#[test]
fn every_flipped_bit_and_every_cut_is_seen_and_the_file_dropped() {
    let state = tempfile::tempdir().unwrap();
    let cache = cache(state.path());
    cache.put(DIGEST, b"code").unwrap();
    let path = cache.path(DIGEST);
    let good = fs::read(&path).unwrap();
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, &bad).unwrap();
        assert!(dropped(cache.get(DIGEST)), "bit {bit}");
        assert!(!path.exists());
    }
    for len in 0..good.len() {
        fs::write(&path, &good[..len]).unwrap();
        assert!(dropped(cache.get(DIGEST)), "cut to {len}");
    }
}

#[test]
fn a_seal_is_for_one_component_one_engine_and_one_box() {
    let state = tempfile::tempdir().unwrap();
    let first = cache(state.path());
    first.put(DIGEST, b"code").unwrap();
    fs::copy(first.path(DIGEST), first.path("bb22")).unwrap();
    assert!(dropped(first.get("bb22")), "another component");

    let other = Cache::open(state.path(), "engine 2".into()).unwrap();
    assert!(dropped(other.get(DIGEST)), "another engine");

    first.put(DIGEST, b"code").unwrap();
    fs::remove_file(state.path().join("seal.key")).unwrap();
    assert!(dropped(cache(state.path()).get(DIGEST)), "another key");
}

#[test]
fn the_key_is_for_the_daemon_alone() {
    let state = tempfile::tempdir().unwrap();
    let before = cache(state.path());
    before.put(DIGEST, b"code").unwrap();
    let path = state.path().join("seal.key");
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let after = cache(state.path());
    assert_ne!(before.key, after.key);
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    assert!(dropped(after.get(DIGEST)));
}

#[test]
fn a_key_cut_short_is_made_anew() {
    let state = tempfile::tempdir().unwrap();
    let before = cache(state.path()).key;
    let path = state.path().join("seal.key");
    fs::write(&path, &before[..31]).unwrap();
    assert_ne!(cache(state.path()).key, before);
    assert_eq!(fs::metadata(&path).unwrap().len(), 32);
}

#[test]
fn links_and_folders_are_not_followed() {
    let state = tempfile::tempdir().unwrap();
    let cache = cache(state.path());
    cache.put(DIGEST, b"code").unwrap();
    let elsewhere = state.path().join("elsewhere");
    fs::rename(cache.path(DIGEST), &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, cache.path(DIGEST)).unwrap();
    assert!(dropped(cache.get(DIGEST)));
    fs::create_dir(cache.path("cc33")).unwrap();
    assert!(dropped(cache.get("cc33")));
}

#[test]
fn only_what_the_box_needs_stays() {
    let state = tempfile::tempdir().unwrap();
    let cache = cache(state.path());
    cache.put("aa11", b"code").unwrap();
    cache.put("bb22", b"code").unwrap();
    fs::write(cache.dir.join("cc33.new"), b"half").unwrap();
    cache.retain(&["bb22".to_owned()].into());
    assert_eq!(cache.get("aa11"), Found::Nothing);
    assert_eq!(cache.get("bb22"), Found::Code(b"code".to_vec()));
    assert_eq!(cache.entries().len(), 1);
}

#[test]
fn room_is_made_by_the_oldest() {
    let state = tempfile::tempdir().unwrap();
    let cache = cache(state.path());
    for (digest, age) in [("aa11", 3), ("bb22", 2), ("cc33", 1)] {
        let file = File::create(cache.path(digest)).unwrap();
        file.set_len(CACHE_BYTES_MAX / 4 + 1).unwrap();
        let at = std::time::SystemTime::now() - std::time::Duration::from_secs(age * 100);
        file.set_modified(at).unwrap();
    }
    cache.make_room(CACHE_BYTES_MAX / 2, "dd44");
    let mut left: Vec<_> = cache.entries().into_iter().filter_map(|e| e.digest).collect();
    left.sort();
    assert_eq!(left, ["cc33"]);
}

#[test]
fn a_state_folder_that_cannot_be_written_is_an_error_to_go_on_with() {
    let state = tempfile::tempdir().unwrap();
    let file = state.path().join("file");
    fs::write(&file, b"").unwrap();
    assert!(matches!(Cache::open(&file, String::new()), Err(CacheError::Io { .. })));
}

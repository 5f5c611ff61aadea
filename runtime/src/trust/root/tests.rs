use super::*;
use crate::config::TrustConfig;
use crate::trust::sign;

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn id(seed: u8) -> String {
    key_id(key(seed).verifying_key().as_bytes())
}

fn grant(role: Role, names: &[&str], seeds: &[u8], threshold: usize) -> Grant {
    let names = names.iter().map(|it| (*it).to_owned()).collect();
    Grant { role, names, keys: seeds.iter().map(|seed| id(*seed)).collect(), threshold }
}

fn root(version: u64, grants: Vec<Grant>) -> Root {
    let public = |seed: u8| STANDARD.encode(key(seed).verifying_key().to_bytes());
    Root {
        version,
        keys: (1..=9).map(|seed| (id(seed), public(seed))).collect(),
        grants,
        ..Root::of_one_key(&key(1))
    }
}

/// Two of three keys hold it.
fn shared(version: u64, seeds: &[u8]) -> Root {
    root(version, vec![grant(Role::Root, &["*"], seeds, 2)])
}

fn signed(root: &Root, seeds: &[u8]) -> Vec<u8> {
    let keys: Vec<_> = seeds.iter().map(|seed| key(*seed)).collect();
    root.sign(&keys.iter().collect::<Vec<_>>())
}

#[test]
fn a_root_is_followed_by_what_enough_keys_of_both_signed() {
    let (old, new) = (shared(1, &[1, 2, 3]), shared(2, &[3, 4, 5]));
    for (seeds, whose) in [
        (&[1, 2, 4, 5][..], ""),
        (&[2, 3, 5], ""),
        // One of the old: somebody who stole it, or nobody else agreed.
        (&[1, 4, 5], "the root that this box has"),
        (&[4, 5], "no key of it"),
        // Enough of the old, who mistook what the new keys are.
        (&[1, 2, 4], "the new root"),
        // The same key twice is one.
        (&[1, 1, 4, 5], "the root that this box has"),
    ] {
        let followed = old.followed_by(&signed(&new, seeds));
        match (followed, whose) {
            (Ok(followed), "") => assert_eq!(followed, new),
            (Err(TrustError::UnknownKey { .. }), "no key of it") => {}
            (Err(error), whose) if !whose.is_empty() => {
                assert!(error.to_string().contains(whose), "{seeds:?}: {error}");
            }
            (other, _) => panic!("{seeds:?}: {other:?}"),
        }
    }
}

#[test]
fn versions_come_one_by_one_and_never_again() {
    let old = shared(4, &[1, 2, 3]);
    for version in [1, 3, 4, 6, u64::MAX] {
        let error = old.followed_by(&signed(&shared(version, &[1, 2, 3]), &[1, 2])).unwrap_err();
        assert_eq!(error, TrustError::RootVersion { wanted: 5, found: version });
    }
}

#[test]
fn what_is_revoked_stays_revoked() {
    let old = shared(1, &[1, 2, 3]).revoking(&[id(9)], &["AB".repeat(32)]).unwrap();
    assert_eq!((old.version, old.revoked_digests.first()), (2, Some(&"ab".repeat(32))));
    let forgets = Root { version: 3, ..shared(3, &[1, 2, 3]) };
    let error = old.followed_by(&signed(&forgets, &[1, 2])).unwrap_err().to_string();
    assert!(error.contains("no longer revokes"), "{error}");
    let keeps = Root { version: 3, ..old.clone() };
    assert_eq!(old.followed_by(&signed(&keeps, &[1, 2])).unwrap(), keeps);
}

#[test]
fn a_revoked_key_of_the_root_signs_no_more_and_one_that_is_needed_is_not_revoked() {
    let old = shared(1, &[1, 2, 3]).revoking(&[id(3)], &[]).unwrap();
    let next = Root { version: 3, ..old.clone() };
    assert!(old.followed_by(&signed(&next, &[1, 2])).is_ok());
    let error = old.followed_by(&signed(&next, &[1, 3])).unwrap_err();
    assert!(matches!(error, TrustError::Threshold { wanted: 2, found: 1, .. }), "{error}");
    let error = old.revoking(&[id(2)], &[]).unwrap_err().to_string();
    assert!(error.contains("1 keys are left to change the root, and 2 are wanted"), "{error}");
}

#[test]
fn what_is_no_root_is_refused_whoever_signed_it() {
    let old = shared(1, &[1, 2, 3]);
    let two = |change: &dyn Fn(&mut Root)| {
        let mut next = shared(2, &[1, 2, 3]);
        change(&mut next);
        old.followed_by(&signed(&next, &[1, 2])).unwrap_err().to_string()
    };
    for (change, word) in [
        (&(|it: &mut Root| it.spec = 2) as &dyn Fn(&mut Root), "wanted spec 1"),
        (&|it| it.grants.clear(), "one grant of role root"),
        (&|it| it.grants[0].threshold = 0, "are wanted"),
        (&|it| it.grants[0].threshold = 4, "3 keys are left"),
        (&|it| it.grants.push(grant(Role::Fleet, &["*"], &[4], 0)), "lets anybody speak"),
        (&|it| drop(it.keys.insert("00".into(), "AA==".into())), "is not the id of its key"),
        (&|it| it.revoked_digests.extend(["AB".repeat(32)]), "64 lower-case hex digits"),
        (&|it| it.revoked_keys.extend(["acme".to_owned()]), "16 lower-case hex digits"),
        (
            &|it| {
                let weak = [0_u8; 32];
                it.keys.insert(key_id(&weak), STANDARD.encode(weak));
            },
            "small order",
        ),
        (
            &|it| it.revoked_digests.extend((0..600).map(|it| it.to_string())),
            "at most 64 keys, 64 grants and 512",
        ),
    ] {
        let error = two(change);
        assert!(error.contains(word), "no {word:?} in {error}");
    }
    let other = sign("application/vnd.homeostat.plugin+json", b"{}", &key(1));
    assert!(matches!(old.followed_by(&other), Err(TrustError::WrongType { .. })));
}

#[test]
fn a_publisher_speaks_for_its_names_with_so_many_keys_and_not_when_revoked() {
    let root = root(
        1,
        vec![
            grant(Role::Root, &["*"], &[1], 1),
            grant(Role::Publisher, &["acme", "acme-*"], &[5, 6], 2),
            grant(Role::Fleet, &["*"], &[7], 1),
        ],
    );
    let nobody = TrustConfig { publishers: vec![] };
    let by = |root: &Root, seeds: &[u8], name: &str| {
        let ring = Keyring::under(&nobody, root).unwrap();
        let keys: Vec<_> = seeds.iter().map(|seed| key(*seed)).collect();
        let envelope = sign_by_all("t", b"x", &keys.iter().collect::<Vec<_>>());
        verify(&envelope, "t", &ring).is_ok_and(|verified| ring.vouches(name, &verified))
    };
    assert!(by(&root, &[5, 6], "acme") && by(&root, &[5, 6], "acme-vision"));
    assert!(!by(&root, &[5, 6], "other"));
    assert!(!by(&root, &[5], "acme"), "one of two");
    assert!(!by(&root, &[5, 5], "acme"), "one, twice");
    assert!(!by(&root, &[5], &id(5)), "no name of its own, not even its id");
    assert!(!by(&root, &[7], "acme"), "a key of the fleet publishes nothing");
    let revoked = root.revoking(&[id(6)], &[]).unwrap();
    assert!(!by(&revoked, &[5, 6], "acme"));
}

#[test]
fn a_key_of_the_boxs_file_can_be_revoked_and_a_digest_whoever_signed_it() {
    let publisher =
        crate::config::PublisherKey { name: "acme".into(), key: key(5).verifying_key().to_bytes() };
    let config = TrustConfig { publishers: vec![publisher] };
    let root = Root::of_one_key(&key(1));
    let envelope = sign("t", b"x", &key(5));
    let vouches = |root: &Root| {
        let ring = Keyring::under(&config, root).unwrap();
        verify(&envelope, "t", &ring).is_ok_and(|verified| ring.vouches("acme", &verified))
    };
    assert!(vouches(&root));
    let root = root.revoking(&[id(5)], &["cd".repeat(32)]).unwrap();
    assert!(!vouches(&root));
    let ring = Keyring::under(&config, &root).unwrap();
    assert!(ring.is_revoked(&"CD".repeat(32)) && !ring.is_revoked(&"ef".repeat(32)));
    // It comes back from where it is kept as it was.
    assert_eq!(Root::accepted(&root.to_text()).unwrap(), root);
}

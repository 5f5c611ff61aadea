use super::*;
use crate::store::database::Database;
fn rss() -> String {
    std::fs::read_to_string("/proc/self/status")
        .unwrap()
        .lines()
        .filter(|l| l.starts_with("VmRSS") || l.starts_with("VmHWM"))
        .collect::<Vec<_>>()
        .join(" ")
}
#[test]
#[ignore]
fn zz_steps() {
    let dir = std::path::PathBuf::from("/work/wt-target/store-x/db1");
    if !dir.exists() {
        let n: u64 = std::env::var("N").map_or(20_000, |s| s.parse().unwrap());
        let mut opened = open(&dir);
        let mut journal = opened.store.journal();
        for i in 0..n {
            let seq = journal.append(at(i), telemetry(&"z".repeat(200))).seq;
            if i % 10 == 9 {
                wait_durable(&journal.durable(), seq);
            }
        }
        eprintln!("written {} file {}", rss(), std::fs::metadata(dir.join("db/db")).unwrap().len());
        opened.store.close();
        return;
    }
    eprintln!("{}", rss());
    let a = crate::store::archive::Archive::read(&dir.join("db")).unwrap().unwrap();
    eprintln!("archive {}", rss());
    drop(a);
    eprintln!("dropped {}", rss());
    let d = Database::open(&dir.join("db"), 1 << 20).unwrap();
    eprintln!("sled open {}", rss());
    d.verify().unwrap();
    eprintln!("verified {}", rss());
    d.verify().unwrap();
    eprintln!("verified {}", rss());
    d.close();
    eprintln!("closed {}", rss());
}
#[test]
#[ignore]
fn zz_replay() {
    let dir = std::path::PathBuf::from("/work/wt-target/store-x/db1");
    eprintln!("{}", rss());
    let t = std::time::Instant::now();
    let opened = open(&dir);
    eprintln!("open {:?} {} {:?}", t.elapsed(), rss(), opened.conditions);
    let t = std::time::Instant::now();
    eprintln!("replay {} {:?} {}", opened.store.reader().replay(1).count(), t.elapsed(), rss());
    let mut store = opened.store;
    let mut journal = store.journal();
    for i in 0..3000 {
        let s = journal.append(at(i), telemetry(&"z".repeat(200))).seq;
        if i % 10 == 9 {
            wait_durable(&journal.durable(), s);
        }
    }
    eprintln!("3000 more {}", rss());
    drop(store);
}

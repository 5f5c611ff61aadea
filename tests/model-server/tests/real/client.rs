//! The load client's record is what really happened.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use model_server::golden::Golden;
use model_server::record::{Injection, Outcome, Sent};
use model_server::timeline::{Outage, latency_us, tally};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::run::{Place, ended, lines_of, until};

fn client(place: &Place, servers: &[(&str, SocketAddr)], arguments: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_load-client"));
    command.arg("--record").arg(place.path("sent"));
    for (name, address) in servers {
        command.arg("--target").arg(format!("{name}=http://{address}"));
    }
    command.args(arguments).stdout(Stdio::piped()).spawn().unwrap()
}

fn summary(mut child: Child) -> Value {
    assert!(ended(&mut child).success());
    let text = std::io::read_to_string(child.stdout.take().unwrap()).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    serde_json::from_str(&text).unwrap()
}

fn sent(path: &Path) -> Vec<Sent> {
    lines_of(path)
}

fn until_seen(place: &Place, result: Outcome, count: u64) {
    until(&format!("{count} times {result:?}"), || {
        tally(&sent(&place.path("sent"))).get(&result) >= Some(&count)
    });
}

#[test]
fn a_sound_server_gets_every_request_and_answers_each_rightly() {
    let place = Place::new();
    let server = place.serve(&[]);
    let child = client(
        &place,
        &[("left", server.address)],
        &["--rate", "200", "--count", "40", "--timeout-ms", "20000"],
    );
    let summary = summary(child);
    assert_eq!(summary["servers"]["left"]["requests"], 40);
    assert_eq!(summary["servers"]["left"]["results"]["good"], 40);

    let mut sent = sent(&place.path("sent"));
    sent.sort_by_key(|sent| sent.n);
    assert_eq!(sent.iter().map(|sent| sent.n).collect::<Vec<_>>(), (1..=40).collect::<Vec<_>>());
    assert_eq!(tally(&sent), BTreeMap::from([(Outcome::Good, 40)]));
    assert!(sent.iter().all(|sent| sent.status == Some(200) && sent.latency_us > 0));
    assert!(latency_us(&sent, "left", 99) >= latency_us(&sent, "left", 50));
    assert_eq!(server.metric("request_success"), 40);

    // Due every 5 ms, however long each took.
    assert!(sent.windows(2).all(|two| two[1].due.mono_ns - two[0].due.mono_ns == 5_000_000));
}

#[test]
fn each_kind_of_loss_is_recorded_as_what_it_is() {
    let place = Place::new();
    let mut server = place.serve(&[]);
    let arguments = ["--rate", "50", "--timeout-ms", "300"];
    let child = client(&place, &[("left", server.address)], &arguments);
    until_seen(&place, Outcome::Good, 3);
    place.inject(&["wrong"]);
    until_seen(&place, Outcome::Wrong, 3);
    place.inject(&["heal"]);
    place.inject(&["hang"]);
    until_seen(&place, Outcome::Timeout, 3);
    place.inject(&["crash"]);
    until_seen(&place, Outcome::Broken, 1);
    until_seen(&place, Outcome::Refused, 3);
    server.ended();
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();

    let summary = summary(child);
    let sent = sent(&place.path("sent"));
    assert_eq!(summary["servers"]["left"]["requests"], sent.len());
    for (result, count) in tally(&sent) {
        let name = serde_json::to_value(result).unwrap();
        assert_eq!(summary["servers"]["left"]["results"][name.as_str().unwrap()], count);
    }
    for sent in sent.iter().filter(|sent| sent.result == Outcome::Timeout) {
        assert!(sent.latency_us >= 300_000, "{sent:?}");
    }
}

#[test]
fn an_error_status_is_recorded_with_what_it_said() {
    let place = Place::new();
    let server = place.start(&["--start-delay-ms", "3600000"], None);
    summary(client(&place, &[("left", server.address)], &["--rate", "100", "--count", "3"]));
    for sent in sent(&place.path("sent")) {
        assert_eq!((sent.result, sent.status), (Outcome::Status, Some(503)));
        assert!(sent.detail.contains("is loading"), "{sent:?}");
    }
}

#[test]
fn a_hung_server_holds_up_neither_the_clock_nor_the_other_server() {
    let (place, other) = (Place::new(), Place::new());
    let (hung, sound) = (place.serve(&[]), other.serve(&[]));
    place.inject(&["hang"]);
    let servers = [("hung", hung.address), ("sound", sound.address)];
    let arguments =
        ["--rate", "100", "--count", "60", "--timeout-ms", "3000", "--in-flight-max", "8"];
    let summary = summary(client(&place, &servers, &arguments));
    assert_eq!(summary["servers"]["hung"]["results"], json!({ "timeout": 8, "unsent": 52 }));
    // On a busy machine the sound server's requests bunch up too; but were its
    // bound shared with the hung one, no more than 8 could be good.
    let sound = &summary["servers"]["sound"]["results"];
    let (good, unsent) = (&sound["good"], sound["unsent"].as_u64().unwrap_or(0));
    assert!(good.as_u64() > Some(8), "{sound}");
    assert_eq!(good.as_u64().unwrap() + unsent, 60, "{sound}");
}

#[test]
fn an_end_by_the_clock_comes_by_itself() {
    let place = Place::new();
    let server = place.serve(&[]);
    let arguments = ["--rate", "100", "--for", "0.2"];
    let summary = summary(client(&place, &[("left", server.address)], &arguments));
    assert_eq!(summary["servers"]["left"]["requests"], 20);
}

#[test]
fn an_address_without_a_port_is_refused_with_what_was_wanted() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_load-client"));
    command.args(["--record", "/dev/null", "--target", "left=http://127.0.0.1"]);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("NAME=http://HOST:PORT"));
}

/// What a demo's closing table is made of: the injector's record and the
/// client's, and nobody else's word.
#[test]
fn the_two_records_together_tell_how_long_a_restart_took() {
    let place = Place::new();
    // An address of its own: no other test's connection can take the port while
    // nobody listens there.
    let mut first = place.serve(&["--listen", "127.0.0.77:0"]);
    let address = first.address;
    let arguments = ["--rate", "100", "--timeout-ms", "20000", "--in-flight-max", "1000"];
    let child = client(&place, &[("left", address)], &arguments);
    until_seen(&place, Outcome::Good, 5);
    place.inject(&["--server", "left", "crash"]);
    until_seen(&place, Outcome::Refused, 3);
    first.ended();
    let before = tally(&sent(&place.path("sent")))[&Outcome::Good];
    let second = place.serve(&["--listen", &address.to_string()]);
    until_seen(&place, Outcome::Good, before + 10);
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    summary(child);

    let injections: Vec<Injection> = lines_of(&place.path("injections"));
    let sent = sent(&place.path("sent"));
    let outage = Outage::after(&injections[0], &injections, &sent, 5);
    assert!(outage.healed(), "{outage:?}");
    assert!(outage.first_lost_ns >= Some(injections[0].asked.mono_ns));
    assert!(outage.good_again_ns > outage.first_lost_ns);
    assert_eq!(outage.lost_total(), sent.len() as u64 - tally(&sent)[&Outcome::Good]);
    assert!(outage.lost[&Outcome::Refused] >= 3);
    let golden = Golden::committed();
    assert_eq!(second.infer(&golden.cases).check(&golden.cases), Ok(()));
}

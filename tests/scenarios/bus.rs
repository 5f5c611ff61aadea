//! What a machine of the plant's says by MQTT reaches a detector, through a real
//! Mosquitto.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::thread;
use std::time::Duration;

use homeostat::model::Event;
use homeostat_tests::broker::{Broker, Publish, publish};
use homeostat_tests::plan::path;
use homeostat_tests::wait::{Seen, wait_until};
use homeostat_tests::{PATIENCE, Plan, TestBox};
use serde_json::json;

const TOPIC: &str = "line/3/press";
const ANYBODY: &str = "allow_anonymous true";

/// A box that reads the press's pressure, which is too high from 6 bar on.
fn reads_the_press(plan: Plan, broker: &Broker) -> Plan {
    let high = json!({ "name": "high", "series": "sensor.pressure", "op": ">", "raise": 6 });
    plan.detector("threshold", json!({ "rules": [high] })).with(|settings| {
        settings.set("bus.address", broker.address());
        let sensor = json!({
            "name": "pressure", "unit": "bar", "kind": "mqtt", "topic": TOPIC,
            "pointer": "/bar", "period_ms": 50,
        });
        settings.push("sensor", sensor);
    })
}

fn says(broker: &Broker, payload: &[u8], retained: bool) {
    publish(&broker.address(), None, &Publish { topic: TOPIC, payload, retained });
}

/// Says it until it is heard: a message is for whoever listens when it is sent.
fn says_until<T>(broker: &Broker, bar: f64, what: &str, seen: impl Fn() -> Option<T>) -> T {
    let payload = json!({ "bar": bar }).to_string();
    wait_until(PATIENCE, what, || {
        says(broker, payload.as_bytes(), false);
        Seen::some(seen(), || "nothing".into())
    })
}

fn raised(house: &TestBox, after: u64) -> Option<String> {
    house.events().into_iter().find_map(|record| match record.event {
        Event::FindingRaised { finding, .. } if record.seq > after => Some(finding.message),
        _ => None,
    })
}

fn cleared(house: &TestBox, after: u64) -> Option<()> {
    let mut records = house.events().into_iter().filter(|record| record.seq > after);
    records.any(|it| matches!(it.event, Event::FindingCleared { .. })).then_some(())
}

fn until_condition(house: &TestBox, name: &str, there: bool) -> String {
    house.until_view(&format!("condition {name} to be there: {there}"), |view| {
        let found = view.conditions.iter().find(|condition| condition.name == name);
        (found.is_some() == there)
            .then(|| found.map_or_else(String::new, |condition| condition.detail.clone()))
    })
}

#[test]
fn a_value_on_a_topic_raises_a_finding_and_goes_on_when_the_broker_is_back() {
    let plan = Plan::bare();
    let Some(mut broker) = Broker::start(plan.path(), ANYBODY) else { return };
    let house = reads_the_press(plan, &broker).raise();
    let message = says_until(&broker, 7.5, "the finding", || raised(&house, 0));
    assert!(message.contains("is 7.5 bar"), "{message}");

    broker.kill();
    let detail = until_condition(&house, "bus.away", true);
    assert!(detail.contains(&broker.address()), "{detail}");
    assert!(house.view().findings.contains_key("threshold"), "silence is not health");
    let before = house.now();
    broker.begin();
    until_condition(&house, "bus.away", false);
    says_until(&broker, 3.0, "the end of the finding", || cleared(&house, before));
    house.check();
}

#[test]
fn what_is_old_too_large_or_no_number_is_no_reading_and_cuts_nothing() {
    let plan = Plan::bare();
    let Some(broker) = Broker::start(plan.path(), ANYBODY) else { return };
    // Said yesterday, and kept by the broker.
    says(&broker, br#"{ "bar": 9 }"#, true);
    let house = reads_the_press(plan, &broker).raise();
    says_until(&broker, 3.0, "a first reading", || {
        let view = house.view();
        view.plugins.iter().any(|it| it.name == "threshold" && it.calls > 0).then_some(())
    });
    for payload in [
        vec![b'7'; 10 << 20],
        b"no JSON".to_vec(),
        br#"{ "psi": 100 }"#.to_vec(),
        br#"{ "bar": "much" }"#.to_vec(),
        vec![0xff; 1000],
        Vec::new(),
    ] {
        says(&broker, &payload, false);
    }
    let message = says_until(&broker, 7.5, "the finding", || raised(&house, 0));
    assert!(message.contains("is 7.5 bar"), "nothing else was a reading: {message}");
    let log = house.log_text();
    assert_eq!(log.matches("the bus is connected").count(), 1, "it was never cut: {log}");
    house.check();
}

#[test]
fn a_wrong_password_is_said_and_not_shown_and_the_right_one_is_taken() {
    const RIGHT: &str = "right-and-secret";
    let plan = Plan::bare();
    let passwords = plan.path().join("passwords");
    let made = Command::new("mosquitto_passwd")
        .args(["-c", "-b", &path(&passwords), "press-7", RIGHT])
        .status();
    let settings = format!("allow_anonymous false\npassword_file {}", path(&passwords));
    let Some(broker) = Broker::start(plan.path(), &settings) else { return };
    assert!(made.is_ok_and(|status| status.success()), "mosquitto brings mosquitto_passwd");

    let file = plan.path().join("password");
    let keeps = |text: &str| {
        fs::write(&file, text).expect("the story's folder can be written");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("it is ours");
    };
    keeps("wrong-and-secret\n");
    let mut house = reads_the_press(plan, &broker)
        .with(|settings| {
            settings.set("bus.username", "press-7").set("bus.password_file", path(&file));
        })
        .raise();
    let detail = until_condition(&house, "bus.away", true);
    assert!(detail.contains("NotAuthorized") || detail.contains("BadUserNamePassword"), "{detail}");
    house.stop_daemon();
    keeps(&format!("{RIGHT}\n"));
    house.start(&[]);
    let message = wait_until(PATIENCE, "the finding", || {
        let high = Publish { topic: TOPIC, payload: br#"{ "bar": 7.5 }"#, retained: false };
        publish(&broker.address(), Some(("press-7", RIGHT)), &high);
        Seen::some(raised(&house, 0), || "nothing".into())
    });
    assert!(message.contains("is 7.5 bar"), "{message}");
    let shown = format!("{}{:?}{:?}", house.log_text(), house.view(), house.events());
    assert!(!shown.contains("and-secret"), "a password is nowhere shown");
}

/// A broker that means ill, a little less with each connection.
fn ill_willed() -> (String, thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it has one").to_string();
    let serve = thread::spawn(move || {
        for (nth, stream) in listener.incoming().flatten().enumerate() {
            // The box cuts what it should; the last is kept as long as it likes.
            let _ = serve(stream, nth);
            if nth == 2 {
                return;
            }
        }
    });
    (address, serve)
}

fn serve(mut stream: TcpStream, nth: usize) -> io::Result<()> {
    packet(&mut stream)?;
    if nth == 0 {
        return stream.write_all(&[0xff; 1 << 16]);
    }
    // It takes us, and would have us ping without a pause.
    stream.write_all(&[0x20, 6, 0, 0, 3, 0x13, 0, 0])?;
    let subscribe = packet(&mut stream)?;
    stream.write_all(&[0x90, 4, subscribe[0], subscribe[1], 0, 0])?;
    let properties: &[u8] = if nth == 1 { &[3, 0x23, 0, 1] } else { &[0] };
    let topic = [&[0, u8::try_from(TOPIC.len()).expect("short")], TOPIC.as_bytes()].concat();
    let body = [topic.as_slice(), properties, br#"{ "bar": 7.5 }"#].concat();
    let mut publish = vec![0x30, u8::try_from(body.len()).expect("short")];
    publish.extend(body);
    loop {
        stream.write_all(&publish)?;
        thread::sleep(Duration::from_millis(20));
    }
}

/// Reads one packet, and gives its body.
fn packet(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut byte = [0];
    stream.read_exact(&mut byte)?;
    let (mut len, mut shift) = (0, 0);
    loop {
        stream.read_exact(&mut byte)?;
        len |= usize::from(byte[0] & 0x7f) << shift;
        shift += 7;
        if byte[0] & 0x80 == 0 {
            break;
        }
    }
    let mut body = vec![0; len];
    stream.read_exact(&mut body)?;
    Ok(body)
}

#[test]
fn a_broker_that_means_ill_is_left_and_nothing_it_said_outlives_the_connection() {
    let (address, _serve) = ill_willed();
    let high = json!({ "name": "high", "series": "sensor.pressure", "op": ">", "raise": 6 });
    let house = Plan::bare()
        .detector("threshold", json!({ "rules": [high] }))
        .with(|settings| {
            settings.set("bus.address", address);
            let sensor = json!({
                "name": "pressure", "unit": "bar", "kind": "mqtt", "topic": TOPIC,
                "pointer": "/bar", "period_ms": 50,
            });
            settings.push("sensor", sensor);
        })
        .raise();
    house.until_raised(0, "threshold.high");
    let log = house.log_text();
    assert!(log.contains("it uses topic aliases, which were not offered"), "{log}");
    assert!(log.len() < 1 << 16, "a broker's words fill no log: {} bytes", log.len());
    until_condition(&house, "bus.away", false);
    house.check();
}

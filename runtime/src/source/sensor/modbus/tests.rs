use std::collections::BTreeSet;

use super::fixture::{Manner, Server};
use super::*;
use crate::config::{ModbusTable, ModbusType, WordOrder};
use crate::source::fixture::Proc;
use crate::source::sensor::tests::Story;

/// Longer than any test may take.
const PATIENT_MS: u64 = 60_000;
const HOLDING: ModbusTable = ModbusTable::Holding(ModbusType::U16);

fn sensor(server: &Server, table: ModbusTable, register: u16, timeout_ms: u64) -> SensorKind {
    let point = ModbusPoint { unit_id: 9, table, register };
    SensorKind::Modbus { address: server.address.clone(), point, timeout_ms }
}

/// Two of them at work: `a` at register 1, which holds 10, and `b` at 2, with 20.
async fn pair(a_timeout_ms: u64) -> (Server, Story) {
    let server = Server::start().await;
    server.device().tables[2].extend([(1, 10), (2, 20)]);
    let kinds = [
        ("a", sensor(&server, HOLDING, 1, a_timeout_ms)),
        ("b", sensor(&server, HOLDING, 2, PATIENT_MS)),
    ];
    (server, Story::start_all(&Proc::new(), &kinds))
}

async fn until(story: &mut Story, wanted: &str) {
    let wait = async { while story.reading().await != wanted {} };
    let patience = Duration::from_millis(PATIENT_MS);
    tokio::time::timeout(patience, wait).await.unwrap_or_else(|_| panic!("no {wanted}"));
}

#[tokio::test]
async fn each_table_and_type_gives_its_number() {
    use ModbusTable::{Coil, Discrete, Holding, Input};
    use ModbusType::{F32, I16, I32, U16, U32};
    use WordOrder::{Big, Little};
    let server = Server::start().await;
    {
        let tables = &mut server.device().tables;
        tables[0].insert(1, 1);
        tables[1].extend([(1, 0), (65_535, 1)]);
        tables[2].extend([(1, 0x8000), (2, 0x41ac), (3, 0)]);
        tables[3].extend([(1, 0xfffe), (2, 0xffff), (3, 0xfffe), (4, 0xffff), (5, 0x000a)]);
    }
    let wanted = [
        ("coil", Coil, 1, 0.5),
        ("off", Discrete, 1, 0.0),
        ("last", Discrete, 65_535, 0.5),
        ("u16", Holding(U16), 1, 16_384.0),
        ("i16", Holding(I16), 1, -16_384.0),
        ("f32", Holding(F32(Big)), 2, 10.75),
        ("input", Input(I16), 1, -1.0),
        ("i32", Input(I32(Big)), 2, -1.0),
        ("i32little", Input(I32(Little)), 1, -1.0),
        ("u32", Input(U32(Little)), 4, 360_447.5),
    ];
    let kinds = wanted.map(|(name, table, at, _)| (name, sensor(&server, table, at, PATIENT_MS)));
    let mut story = Story::start_all(&Proc::new(), &kinds);
    let mut readings = BTreeSet::new();
    while readings.len() < wanted.len() {
        readings.insert(story.reading().await);
    }
    let expected = wanted.map(|(name, _, _, value)| format!("sensor.{name} {value}"));
    assert_eq!(readings, BTreeSet::from(expected));
    assert_eq!(server.device().connections, 1);
    assert!(server.device().requests.iter().all(|request| request[6] == 9), "the unit");
    story.end().await;
}

#[tokio::test]
async fn two_sensors_of_one_address_take_turns_on_one_connection() {
    let (server, mut story) = pair(PATIENT_MS).await;
    for _ in 0..5 {
        until(&mut story, "sensor.a 5").await;
        until(&mut story, "sensor.b 10").await;
    }
    assert_eq!(server.device().connections, 1);
    story.end().await;
}

#[tokio::test]
async fn an_exception_is_no_reading_and_costs_no_connection() {
    let (server, mut story) = pair(PATIENT_MS).await;
    until(&mut story, "sensor.a 5").await;
    server.device().manners.insert(1, Manner::Refuse(6));
    until(&mut story, "sensor.b 10").await;
    for _ in 0..5 {
        assert_eq!(story.reading().await, "sensor.b 10", "the last one of a is not told again");
    }
    server.device().manners.clear();
    until(&mut story, "sensor.a 5").await;
    assert_eq!(server.device().connections, 1);
    story.end().await;
}

#[tokio::test]
async fn silence_ends_with_the_timeout_and_the_other_sensor_is_read_all_the_same() {
    let (server, mut story) = pair(100).await;
    server.device().manners.insert(1, Manner::Silent);
    let silent = |server: &Server| server.device().requests.iter().filter(|it| it[9] == 1).count();
    // One of a that came before is let pass.
    until(&mut story, "sensor.b 10").await;
    while silent(&server) < 3 {
        until(&mut story, "sensor.b 10").await;
    }
    server.device().manners.clear();
    until(&mut story, "sensor.a 5").await;
    story.end().await;
}

#[tokio::test]
async fn a_connection_that_breaks_is_made_again() {
    let (server, mut story) = pair(PATIENT_MS).await;
    until(&mut story, "sensor.a 5").await;
    server.device().manners.extend([(1, Manner::HangUp), (2, Manner::HangUp)]);
    let connections = server.device().connections;
    while server.device().connections < connections + 2 {
        tokio::task::yield_now().await;
    }
    server.device().manners.clear();
    until(&mut story, "sensor.b 10").await;
    until(&mut story, "sensor.a 5").await;
    story.end().await;
}

#[tokio::test]
async fn a_request_without_an_answer_does_not_keep_the_daemon() {
    let server = Server::start().await;
    server.device().manners.insert(1, Manner::Silent);
    let story = Story::start_all(&Proc::new(), &[("a", sensor(&server, HOLDING, 1, PATIENT_MS))]);
    while server.device().requests.is_empty() {
        tokio::task::yield_now().await;
    }
    story.end().await;
}

#[tokio::test]
async fn a_device_that_is_not_there_gives_no_reading() {
    // Bound and not listening: nobody else can be there.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let mut client = Client::new(&socket.local_addr().unwrap().to_string()).unwrap();
    let point = ModbusPoint { unit_id: 9, table: HOLDING, register: 1 };
    let reading = client.ask(&point, Duration::from_millis(PATIENT_MS)).await;
    assert!(matches!(reading, Err(ModbusError::Connect(_))), "{reading:?}");
}

#[tokio::test]
async fn a_connection_closed_while_it_was_idle_costs_no_reading() {
    let server = Server::start().await;
    server.device().tables[2].insert(1, 10);
    server.device().manners.insert(1, Manner::AnswerOnce);
    let mut client = Client::new(&server.address).unwrap();
    let point = ModbusPoint { unit_id: 9, table: HOLDING, register: 1 };
    for _ in 0..3 {
        let reading = client.ask(&point, Duration::from_millis(PATIENT_MS)).await;
        assert_eq!(reading.unwrap(), 10.0);
    }
    assert_eq!(server.device().connections, 3);
}

#[tokio::test]
async fn what_went_wrong_is_said_in_words() {
    let server = Server::start().await;
    let mut client = Client::new(&server.address).unwrap();
    let manners =
        [(1, Manner::Refuse(11)), (2, Manner::Silent), (3, Manner::HangUp), (4, Manner::Answer)];
    server.device().manners.extend(manners);
    for (register, words) in [
        (1, "it answered with exception 11 (gateway target device failed to respond)"),
        (2, "no answer within 40 ms"),
        (3, "the connection broke: early eof"),
        (4, "it answered with exception 2 (illegal data address)"),
    ] {
        let timeout_ms = if register == 2 { 40 } else { PATIENT_MS };
        let point = ModbusPoint { unit_id: 9, table: HOLDING, register };
        let error = client.ask(&point, Duration::from_millis(timeout_ms)).await.unwrap_err();
        assert_eq!(error.to_string(), words);
    }
}

#[test]
fn the_pause_doubles_up_to_half_a_minute() {
    for (unanswered, millis) in
        [(0, 0), (1, 500), (2, 1000), (3, 2000), (6, 16_000), (7, 30_000), (u32::MAX, 30_000)]
    {
        assert_eq!(pause(unanswered), Duration::from_millis(millis), "{unanswered}");
    }
}

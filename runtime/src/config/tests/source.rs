//! What is read of the box: lines, links, sensors, the bus.

use super::*;

#[test]
fn the_kernels_messages_are_read_unless_they_are_not_to_be() {
    let kmsg = |text: &str| good(&format!("{BOX}{text}")).source.kmsg.map(|it| it.path);
    assert_eq!(kmsg("").as_deref(), Some(Path::new("/dev/kmsg")));
    assert_eq!(
        kmsg("[source]\nkmsg = \"/run/pretend\"").as_deref(),
        Some(Path::new("/run/pretend"))
    );
    assert_eq!(kmsg("[source]\nkmsg = \"off\""), None);
    let place = good(&format!("{BOX}[paths]\nrun = \"/run/h\"")).source.kmsg.map(|it| it.place);
    assert_eq!(place.as_deref(), Some(Path::new("/run/h/kmsg")));
}

#[test]
fn a_log_belongs_to_the_box_unless_it_says_to_whom() {
    let config = good(&format!(
        "{BOX}[[workload]]\nname = \"w\"\ncommand = [\"/w\"]\n\
         [[log]]\nname = \"a\"\npath = \"/var/log/a\"\n\
         [[log]]\nname = \"b\"\npath = \"b\"\ntarget = \"workload:w\"\nfrom = \"start\"\n"
    ));
    let [a, b] = &config.source.logs[..] else { panic!("{:?}", config.source.logs) };
    assert_eq!((a.target.as_str(), a.from), ("box", LogStart::End));
    assert_eq!((b.target.as_str(), b.from), ("workload:w", LogStart::Start));
    assert_eq!(b.path, Path::new("/etc/homeostat/b"));
    for (text, expected) in [
        ("", "3:1 log.a.path: wanted the path of a log file, found nothing"),
        (
            "path = \"/a\"\ntarget = \"workload:x\"",
            "6:10 log.a.target: wanted targets of this file",
        ),
        ("path = \"/a\"\ntarget = \"*\"", "6:10 log.a.target: wanted one target of this file"),
        ("path = \"/a\"\nfrom = \"tail\"", "wanted one of end, start, found \"tail\""),
        ("path = \"/a\"\n[[log]]\nname = \"a\"\npath = \"/b\"", "found \"a\" again"),
        (
            "path = \"/a\"\n[[log]]\nname = \"kmsg\"\npath = \"/b\"",
            "log.kmsg.name: wanted a name of",
        ),
    ] {
        let found = row(&format!("[[log]]\nname = \"a\"\n{text}"));
        assert!(found.contains(expected), "wanted\n  {expected}\nfound\n  {found}");
    }
}

#[test]
fn a_link_is_a_target_that_workloads_and_externals_may_need() {
    let text = "[[link]]\nname = \"enP2s0.7\"\nhosts = [\"10.0.0.1:80\"]\n\
         [[workload]]\nname = \"w\"\ncommand = [\"/w\"]\nneeds = [\"cam\"]\n\
         [[external]]\nname = \"cam\"\nneeds = [\"link:enP2s0.7\"]\n\
         probe = [{ kind = \"tcp\", address = \"h:1\" }]\n";
    let config = good(&format!("{BOX}{text}"));
    assert_eq!(config.source.links[0].hosts, ["10.0.0.1:80"]);
    let link = TargetId::from_text("link:enP2s0.7");
    assert!(config.graph.depends_on(&TargetId::workload("w"), &link));
    assert!(config.graph.depends_on(&link, &TargetId::the_box()));

    let external = |needs: &str| text.replace("link:enP2s0.7", needs);
    let wanted = "external.cam.needs: wanted links of this file, found \"w\"";
    assert!(row(&external("w")).contains(wanted), "{}", row(&external("w")));
    for (text, expected) in [
        ("name = \"a b\"", "4:8 link.a b.name: wanted a network interface, such as eth0"),
        ("name = \"sixteen-letters-\"", "the kernel takes 1 to 15 bytes"),
        ("hosts = []", "link[1].name: wanted a network interface, such as eth0, found nothing"),
        ("name = \"e\"\nhosts = [\"h\"]", "5:10 link.e.hosts: wanted HOST:PORT, found \"h\""),
        ("name = \"e\"\nhosts = [\"h:1\", \"h:1\"]", "it is there twice"),
    ] {
        let found = row(&format!("[[link]]\n{text}"));
        assert!(found.contains(expected), "wanted\n  {expected}\nfound\n  {found}");
    }
}

#[test]
fn a_sensor_is_a_channel_or_a_command_with_a_unit() {
    let config = good(&format!(
        "{BOX}[[sensor]]\nname = \"oil\"\nunit = \"Cel\"\nfactor = 0.001\nkind = \"iio\"\n\
         device = \"bme280\"\nchannel = \"in_temp\"\n\
         [[sensor]]\nname = \"press\"\nunit = \"bar\"\nkind = \"command\"\n\
         command = [\"/bin/read\"]\npointer = \"/bar\"\nperiod_s = 2\n"
    ));
    let [oil, press] = &config.source.sensors[..] else { panic!("{:?}", config.source.sensors) };
    assert_eq!((oil.factor, oil.target.as_str(), oil.period_ms), (0.001, "box", 5000));
    assert!(matches!(&oil.kind, SensorKind::Iio { device, .. } if device == "bme280"));
    assert_eq!((press.factor, press.period_ms), (1.0, 2000));
    assert!(matches!(&press.kind, SensorKind::Command { pointer: Some(it), .. } if it == "/bar"));
    for (text, expected) in [
        ("", "sensor.s.kind: wanted one of iio, command, modbus, mqtt, found nothing"),
        (
            "kind = \"can\"",
            "6:8 sensor.s.kind: wanted one of iio, command, modbus, mqtt, found \"can\"",
        ),
        ("kind = \"iio\"", "sensor.s.device: wanted the name of an IIO device, found nothing"),
        ("kind = \"command\"\ncommand = [\"x\"]", "a program by its absolute path"),
        (
            "kind = \"command\"\ncommand = [\"/x\"]\npointer = \"a\"",
            "sensor.s.pointer: wanted a JSON pointer, such as /data/0/value, found \"a\"",
        ),
        ("factor = \"1\"", "6:10 sensor.s.factor: wanted a number, found \"1\""),
        ("factor = inf", "sensor.s.factor: wanted a number, found inf"),
        ("target = \"external:x\"", "sensor.s.target: wanted targets of this file"),
    ] {
        let found = row(&format!("[[sensor]]\nname = \"s\"\nunit = \"1\"\n{text}"));
        assert!(found.contains(expected), "wanted\n  {expected}\nfound\n  {found}");
    }
    assert!(
        row("[[sensor]]\nname = \"s\"").contains("sensor.s.unit: wanted what it is measured in")
    );
}

#[test]
fn a_modbus_sensor_is_a_value_of_a_device_in_one_of_four_tables() {
    let sensor = |keys: &str| {
        format!(
            "[[sensor]]\nname = \"s\"\nunit = \"1\"\nkind = \"modbus\"\n\
             address = \"plc:502\"\n{keys}"
        )
    };
    let (long, short) = (ModbusType::F32(WordOrder::Little), ModbusType::I16);
    for (keys, unit_id, table, register, wanted_ms) in [
        ("table = \"coil\"\nregister = 65535", 1, ModbusTable::Coil, 65_535, 1000),
        (
            "table = \"input\"\ntype = \"i16\"\nregister = 65535\nunit_id = 0\ntimeout_s = 2",
            0,
            ModbusTable::Input(short),
            65_535,
            2000,
        ),
        (
            "table = \"holding\"\ntype = \"f32\"\nword_order = \"little\"\nregister = 0\nunit_id = 255",
            255,
            ModbusTable::Holding(long),
            0,
            1000,
        ),
        (
            "table = \"input\"\ntype = \"u32\"\nregister = 7",
            1,
            ModbusTable::Input(ModbusType::U32(WordOrder::Big)),
            7,
            1000,
        ),
    ] {
        let config = good(&format!("{BOX}{}", sensor(keys)));
        let SensorKind::Modbus { address, point, timeout_ms } = &config.source.sensors[0].kind
        else {
            panic!("{keys}")
        };
        assert_eq!((address.as_str(), *timeout_ms), ("plc:502", wanted_ms), "{keys}");
        assert_eq!(*point, ModbusPoint { unit_id, table, register }, "{keys}");
    }
}

#[test]
fn a_mistake_in_a_modbus_sensor_is_named() {
    for (keys, expected) in [
        ("", "sensor.s.address: wanted HOST:PORT, found nothing"),
        ("address = \"plc\"", "7:11 sensor.s.address: wanted HOST:PORT, found \"plc\""),
        ("address = \"plc:0\"", "a port is a number from 1 to 65535"),
        ("unit_id = 256", "sensor.s.unit_id: wanted a whole number from 0 to 255, found 256"),
        ("", "sensor.s.table: wanted one of holding, input, coil, discrete, found nothing"),
        ("table = \"coils\"", "found \"coils\" | did you mean `coil`?"),
        ("", "sensor.s.register: wanted a whole number from 0 to 65535, found nothing"),
        ("", "what a manual calls 40001 is holding register 0"),
        ("register = 65536", "wanted a whole number from 0 to 65535, found 65536"),
        ("register = -1", "wanted a whole number from 0 to 65535, found -1"),
        (
            "table = \"input\"",
            "sensor.s.type: wanted one of u16, i16, u32, i32, f32, found nothing",
        ),
        ("table = \"input\"\ntype = \"u8\"", "one of u16, i16, u32, i32, f32, found \"u8\""),
        (
            "table = \"coil\"\ntype = \"u16\"",
            "sensor.s.type: wanted no type here, found \"u16\" | a coil and a discrete input are",
        ),
        (
            "table = \"input\"\ntype = \"i16\"\nword_order = \"big\"",
            "sensor.s.word_order: wanted no word_order here, found \"big\" | one register has one",
        ),
        (
            "table = \"input\"\ntype = \"i32\"\nword_order = \"middle\"",
            "sensor.s.word_order: wanted one of big, little, found \"middle\"",
        ),
        (
            "table = \"input\"\ntype = \"f32\"\nregister = 65535",
            "sensor.s.register: wanted a whole number from 0 to 65534, found 65535",
        ),
        ("timeout_s = 61", "sensor.s.timeout_s: wanted a number of seconds from"),
        ("pointer = \"/a\"", "sensor.s: wanted a known key, found `pointer`"),
    ] {
        let text = format!("[[sensor]]\nname = \"s\"\nunit = \"1\"\nkind = \"modbus\"\n{keys}");
        let found = row(&text);
        assert!(found.contains(expected), "wanted\n  {expected}\nfound\n  {found}");
    }
}

#[test]
fn a_bus_is_a_broker_and_a_sensor_of_it_one_topic() {
    let sensor = "[[sensor]]\nname = \"p\"\nunit = \"bar\"\nkind = \"mqtt\"\n\
                  topic = \"line/3/pressure\"\npointer = \"/bar\"\n";
    let config = good(&format!(
        "{BOX}[bus]\naddress = \"plant:1883\"\nusername = \"press-7\"\n\
         password_file = \"mqtt\"\n{sensor}"
    ));
    let bus = config.bus.unwrap();
    assert_eq!((bus.address.as_str(), bus.keep_alive_ms), ("plant:1883", 30_000));
    assert_eq!((bus.client_id.as_str(), bus.password), ("homeostat-press-7", None));
    let [secret] = &config.secrets[..] else { panic!("{:?}", config.secrets) };
    assert_eq!((&secret.owner, secret.name.as_str()), (&SecretOwner::Bus, "password"));
    assert_eq!(
        config.source.sensors[0].kind,
        SensorKind::Mqtt { topic: "line/3/pressure".into(), pointer: Some("/bar".into()) }
    );
    assert_eq!(good(BOX).bus, None);

    let bus = "[bus]\naddress = \"h:1\"\n";
    for (text, expected) in [
        (sensor.to_owned(), "sensor.p.kind: wanted a broker to read it from, found no [bus]"),
        (format!("{bus}{}", sensor.replace("/3/", "/+/")), "one topic for each sensor"),
        (format!("{bus}{}", sensor.replace("line/3/pressure", "")), "it is empty"),
        ("[bus]\nusername = \"x\"\n".into(), "bus.address: wanted HOST:PORT of the broker"),
        ("[bus]\naddress = \"plant\"\n".into(), "bus.address: wanted HOST:PORT"),
        (format!("{bus}password_file = \"f\"\n"), "bus.username: wanted the name that the"),
        (format!("{bus}client_id = \"\"\n"), "bus.client_id: wanted a name"),
        (format!("{bus}pasword_file = \"f\"\n"), "did you mean `password_file`?"),
    ] {
        let found = row(&text);
        assert!(found.contains(expected), "{text}: {found}");
    }
}

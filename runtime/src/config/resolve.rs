//! From what was typed to what it means: names looked up, the graph drawn.
//!
//! Invariant: whatever names another thing is checked here, and only here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use super::action::TypedAction;
use super::document::{At, Document};
use super::entry::{TypedExternal, TypedPlugin, TypedWorkload};
use super::mistake::{nearest, suggest};
use super::shown::ValueOrigin;
use super::typed::{Named, Typed, TypedIncident, TypedRoute};
use super::{
    CommandConfig, Config, ExternalConfig, GuardConfig, IncidentConfig, JournalConfig,
    PluginConfig, Route, SensorKind, WorkloadConfig, WorkloadKind, cycle, remedy, secret, value,
};
use crate::model::catalogue::{
    COMMAND, Catalogue, DISK_RECLAIM, LINK_BOUNCE, SYSTEM_REBOOT, TIME_RESYNC,
};
use crate::model::{Graph, Target, TargetId, TargetKind, selects};

pub(super) fn config(doc: &Document<'_>, typed: Typed) -> Config {
    note_twins(doc, "trust.publishers", typed.publishers.iter());
    note_twins(doc, "plugin", typed.plugins.iter().map(|plugin| &plugin.name));
    note_twins(doc, "workload", typed.workloads.iter().map(|workload| &workload.name));
    note_twins(doc, "external", typed.externals.iter().map(|external| &external.name));
    note_twins(doc, "maintenance", typed.windows.iter().map(|window| &window.name));
    note_twins(doc, "notify", typed.notify.iter().map(|notify| &notify.name));
    let lines = typed.logs.iter().map(|log| &log.name);
    note_twins(doc, "log", lines.chain(typed.journals.iter().map(|journal| &journal.name)));
    note_twins(doc, "link", typed.links.iter().map(|link| &link.name));
    note_twins(doc, "interlock", typed.interlocks.iter().map(|interlock| &interlock.name));
    note_twins(doc, "sensor", typed.sensors.iter().map(|sensor| &sensor.name));
    note_twins(doc, "action", typed.actions.iter().map(|action| &action.name));
    note_twins(doc, "reclaim", typed.reclaim.iter().map(|reclaim| &reclaim.name));

    let plugin_names = names(&typed.plugins);
    let workload_names = names(&typed.workloads);
    let external_names = names(&typed.externals);
    let link_names = names(&typed.links);
    let links = Known { workloads: &[], externals: &[], links: &link_names };
    let known = Known { workloads: &workload_names, externals: &external_names, ..links };
    let workloads = workloads(doc, typed.workloads, &known);
    let externals = externals(doc, typed.externals, &links);
    let graph = graph(&workloads, &externals, &link_names);
    let (mut commands, mut catalogue) = catalogue(doc, typed.actions, &graph);
    let links: Vec<_> = typed.links.into_iter().map(|link| link.what).collect();
    let reclaim: Vec<_> = typed.reclaim.into_iter().map(|reclaim| reclaim.what).collect();
    let resync = typed.resync.as_ref().map(|_| remedy::resync_spec());
    let reboot = typed.reboot.as_ref().map(|_| remedy::reboot_spec());
    [remedy::reclaim_spec(&reclaim), remedy::bounce_spec(&links), resync, reboot]
        .into_iter()
        .flatten()
        .for_each(|spec| catalogue.insert(spec));
    commands.extend(typed.resync);
    let reboot = typed.reboot.map(|(config, command)| {
        commands.push(command);
        config
    });
    let plugins = plugins(doc, typed.plugins, &graph, &catalogue);
    let replicas = workloads
        .iter()
        .filter_map(|it| Some((TargetId::workload(&it.name), it.replicas.clone()?)));
    let guard = GuardConfig {
        replicas: replicas.collect(),
        approval: actions(doc, "guard.approval", typed.approval, &catalogue),
        reboot,
        windows: typed.windows.into_iter().map(|window| window.what).collect(),
        ..typed.guard
    };
    let mut source = typed.source;
    for log in typed.logs.into_iter().map(|log| log.what) {
        note_unknown_one(doc, &log.place, &log.target, &graph);
        source.logs.push(log.config);
    }
    for journal in typed.journals.into_iter().map(|journal| journal.what) {
        note_unknown_one(doc, &journal.place, &journal.target, &graph);
        let program = source.journalctl.clone();
        source.journals.push(JournalConfig { program, ..journal.config });
    }
    // What a unit writes goes to the journal, and is its output all the same.
    source.journals.extend(workloads.iter().filter_map(|it| of_a_unit(it, &source.journalctl)));
    for sensor in typed.sensors.into_iter().map(|sensor| sensor.what) {
        note_unknown_one(doc, &sensor.place, &sensor.target, &graph);
        if typed.bus.is_none() && matches!(sensor.config.kind, SensorKind::Mqtt { .. }) {
            let hint = "say address = \"HOST:PORT\" of the broker under [bus]".to_owned();
            let place = format!("{}.kind", sensor.place);
            doc.note(
                sensor.target.offset,
                &place,
                "a broker to read it from",
                "no [bus]",
                Some(hint),
            );
        }
        source.sensors.push(sensor.config);
    }
    source.interlocks.extend(typed.interlocks.into_iter().map(|interlock| interlock.what));
    source.links.extend(links);
    let incident = incident(doc, typed.incident, &plugins, &plugin_names, &graph);

    Config {
        identity: typed.identity,
        digest: doc.digest(),
        mode: typed.mode,
        paths: typed.paths,
        trust: typed.trust,
        store: typed.store,
        api: typed.api,
        bus: typed.bus,
        source,
        guard,
        incident,
        plugins,
        workloads,
        externals,
        notify: typed.notify.into_iter().map(|notify| notify.what).collect(),
        commands,
        reclaim,
        catalogue: Arc::new(catalogue),
        drill: typed.drill,
        recording: typed.recording,
        systemd: typed.systemd,
        secrets: secret::taken(doc),
        graph,
    }
}

fn workloads(
    doc: &Document<'_>,
    typed: Vec<Named<TypedWorkload>>,
    known: &Known<'_>,
) -> Vec<WorkloadConfig> {
    let mut edges = Vec::new();
    let mut all = Vec::new();
    for Named { name, what } in typed {
        let needs = needs(doc, &format!("{}.needs", what.place), &what.needs, known);
        edges.extend(needs.iter().filter_map(|need| {
            let to = need.value.strip_prefix("workload:")?.to_owned();
            Some(cycle::Edge { from: name.value.clone(), to, offset: need.offset })
        }));
        let needs = needs.into_iter().map(|need| need.value).collect();
        all.push(WorkloadConfig { needs, ..what.config });
    }
    for cycle in cycle::cycles(&edges) {
        let place = format!("workload.{}.needs", cycle.edge.from);
        let found = format!("a circle: {}", cycle.path.join(" → "));
        let hint = "they would wait for each other; take one of the needs away".to_owned();
        doc.note(cycle.edge.offset, &place, "needs that lead nowhere back", found, Some(hint));
    }
    all
}

/// What is not ours needs the links that lead to it, and nothing else of ours.
fn externals(
    doc: &Document<'_>,
    typed: Vec<Named<TypedExternal>>,
    links: &Known<'_>,
) -> Vec<ExternalConfig> {
    let resolve = |TypedExternal { config, needs: typed, place }| {
        let needs = needs(doc, &format!("{place}.needs"), &typed, links);
        ExternalConfig { needs: needs.into_iter().map(|need| need.value).collect(), ..config }
    };
    typed.into_iter().map(|external| resolve(external.what)).collect()
}

fn of_a_unit(workload: &WorkloadConfig, program: &Path) -> Option<JournalConfig> {
    let WorkloadKind::Systemd { unit } = &workload.kind else { return None };
    Some(JournalConfig {
        name: workload.name.clone(),
        source: "output".into(),
        program: program.to_owned(),
        units: vec![unit.clone()],
        target: TargetId::workload(&workload.name),
        dir: None,
    })
}

/// What every box has, and what this one declares.
fn catalogue(
    doc: &Document<'_>,
    typed: Vec<Named<TypedAction>>,
    graph: &Graph,
) -> (Vec<CommandConfig>, Catalogue) {
    let mut catalogue = Catalogue::default();
    let mut commands = Vec::new();
    for action in typed.into_iter().map(|action| action.what) {
        for target in &action.targets {
            note_unknown_target(doc, &format!("{}.targets", action.place), target, graph);
        }
        action.specs().into_iter().for_each(|spec| catalogue.insert(spec));
        commands.push(action.config);
    }
    (commands, catalogue)
}

/// Where an action is declared that not every box has.
fn undeclared(action: &str) -> Option<&'static str> {
    match action {
        DISK_RECLAIM => Some("a [[reclaim]]"),
        LINK_BOUNCE => Some("a [[link]] with bounce = true"),
        SYSTEM_REBOOT => Some("[reboot] with allow = true"),
        TIME_RESYNC => Some("[resync]"),
        _ => None,
    }
}

/// Names of the catalogue.
fn actions(
    doc: &Document<'_>,
    place: &str,
    typed: Vec<At<String>>,
    catalogue: &Catalogue,
) -> BTreeSet<String> {
    for action in typed.iter().filter(|action| catalogue.get(&action.value).is_none()) {
        let known: Vec<&str> = catalogue.names().collect();
        let own = format!("{COMMAND}{}", action.value);
        let hint = match (catalogue.get(&own), undeclared(&action.value)) {
            (Some(_), _) => format!("an [[action]] of this file is called {own}"),
            (None, Some(section)) => format!("it is there once {section} declares it"),
            (None, None) => suggest(&action.value, &known, "actions"),
        };
        let found = value::quoted(&action.value);
        doc.note(action.offset, place, "actions of the catalogue", found, Some(hint));
    }
    typed.into_iter().map(|action| action.value).collect()
}

fn plugins(
    doc: &Document<'_>,
    typed: Vec<Named<TypedPlugin>>,
    graph: &Graph,
    catalogue: &Catalogue,
) -> Vec<PluginConfig> {
    let resolve = |TypedPlugin { config, targets, grants, place }| {
        for target in &targets {
            note_unknown_target(doc, &format!("{place}.targets"), target, graph);
        }
        let targets: Vec<String> = targets.into_iter().map(|target| target.value).collect();
        let named = |id: &TargetId| targets.iter().any(|it| selects(it, id.as_str()));
        let judges = graph.iter().map(|target| target.id.clone()).filter(named).collect();
        let grants = actions(doc, &format!("{place}.grants"), grants, catalogue);
        PluginConfig { targets, judges, grants, ..config }
    };
    typed.into_iter().map(|plugin| resolve(plugin.what)).collect()
}

#[derive(Clone, Copy)]
struct Known<'k> {
    workloads: &'k [String],
    externals: &'k [String],
    links: &'k [String],
}

fn names<T>(all: &[Named<T>]) -> Vec<String> {
    all.iter().map(|one| one.name.value.clone()).collect()
}

fn note_twins<'n>(doc: &Document<'_>, list: &str, names: impl Iterator<Item = &'n At<String>>) {
    let mut seen = BTreeMap::new();
    // An empty name is a mistake already.
    for name in names.filter(|name| !name.value.is_empty()) {
        if let Some(first) = seen.insert(&name.value, name.offset) {
            let place = format!("{list}.{}.name", name.value);
            let found = format!("{} again", value::quoted(&name.value));
            let hint = format!("the first is in line {}", doc.line(first));
            doc.note(name.offset, &place, "a name of its own", found, Some(hint));
        }
    }
}

/// As `workload:NAME`, `external:NAME` and `link:NAME`; a bare name is looked up in all.
fn needs(
    doc: &Document<'_>,
    place: &str,
    typed: &[At<String>],
    known: &Known<'_>,
) -> Vec<At<String>> {
    let full = |kind: &str, names: &[String]| {
        names.iter().map(|name| format!("{kind}:{name}")).collect::<Vec<_>>()
    };
    let all = [
        full("workload", known.workloads),
        full("external", known.externals),
        full("link", known.links),
    ]
    .concat();
    let wanted = match known.workloads {
        [] => "links of this file",
        _ => "workloads, externals and links of this file",
    };
    let mut found = Vec::new();
    for need in typed {
        let matches: Vec<&String> = all
            .iter()
            .filter(|target| {
                **target == need.value
                    || target.split_once(':').is_some_and(|(_, name)| name == need.value)
            })
            .collect();
        match matches.as_slice() {
            [one] => found.push(At { value: (*one).clone(), offset: need.offset }),
            [] => {
                let bare = known.workloads.iter().chain(known.externals).chain(known.links);
                let bare = bare.map(String::as_str);
                let candidates: Vec<&str> = bare.chain(all.iter().map(String::as_str)).collect();
                let hint = suggest(&need.value, &candidates, "names");
                doc.note(need.offset, place, wanted, value::quoted(&need.value), Some(hint));
            }
            // Twins are noted already; a workload and an external of one name are not.
            [first, second, ..] if first != second => {
                let hint = format!("write {first} or {second}");
                let text = format!("{}, which is two", value::quoted(&need.value));
                doc.note(need.offset, place, wanted, text, Some(hint));
            }
            [first, ..] => found.push(At { value: (*first).clone(), offset: need.offset }),
        }
    }
    found
}

/// Workloads and links stand on the box; an external does not.
fn graph(workloads: &[WorkloadConfig], externals: &[ExternalConfig], links: &[String]) -> Graph {
    let mut graph = Graph::default();
    let mut insert = |id: TargetId, kind, needs| graph.insert(Target { id, kind, needs });
    insert(TargetId::the_box(), TargetKind::Box, Vec::new());
    for name in links {
        let id = TargetId::new(TargetKind::Link, name);
        insert(id, TargetKind::Link, vec![TargetId::the_box()]);
    }
    for external in externals {
        let id = TargetId::new(TargetKind::External, &external.name);
        let needs = external.needs.iter().map(TargetId::from_text).collect();
        insert(id, TargetKind::External, needs);
    }
    for workload in workloads {
        let needs = workload.needs.iter().map(TargetId::from_text);
        let needs = needs.chain([TargetId::the_box()]).collect();
        insert(TargetId::workload(&workload.name), TargetKind::Workload, needs);
    }
    graph
}

/// What belongs to one target must name one, and no family.
fn note_unknown_one(doc: &Document<'_>, place: &str, target: &At<String>, graph: &Graph) {
    let place = format!("{place}.target");
    if target.value.ends_with('*') {
        let hint = "a family has many; name the one it belongs to".to_owned();
        let found = value::quoted(&target.value);
        doc.note(target.offset, &place, "one target of this file", found, Some(hint));
    }
    note_unknown_target(doc, &place, target, graph);
}

/// A selector of one target must name one there is; a family may be empty.
fn note_unknown_target(doc: &Document<'_>, place: &str, selector: &At<String>, graph: &Graph) {
    let family = selector.value.ends_with('*');
    if family || graph.get(&TargetId::from_text(&selector.value)).is_some() {
        return;
    }
    let ids: Vec<&str> = graph.iter().map(|target| target.id.as_str()).collect();
    let bare = ids.iter().find(|id| id.split_once(':').is_some_and(|(_, n)| n == selector.value));
    let hint = match bare.copied().or_else(|| nearest(&selector.value, ids.iter().copied())) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("targets here: {}, or a family such as workload:*", ids.join(", ")),
    };
    let wanted = "targets of this file";
    doc.note(selector.offset, place, wanted, value::quoted(&selector.value), Some(hint));
}

fn incident(
    doc: &Document<'_>,
    typed: TypedIncident,
    plugins: &[PluginConfig],
    plugin_names: &[String],
    graph: &Graph,
) -> IncidentConfig {
    let known: Vec<&str> = plugin_names.iter().map(String::as_str).collect();
    let mut seen = BTreeMap::new();
    let mut routes = Vec::new();
    for route in typed.routes {
        check_route(doc, &route, &known, graph);
        let rule = (route.kind.value.clone(), route.target.value.clone());
        if let Some(first) = seen.insert(rule, route.kind.offset) {
            let found =
                format!("kind {:?}, target {:?} again", route.kind.value, route.target.value);
            let hint = format!("never used: the route of line {} comes first", doc.line(first));
            doc.note(route.kind.offset, &route.place, "a rule of its own", found, Some(hint));
        }
        routes.push(Route {
            kind: route.kind.value,
            target: route.target.value,
            healers: route.healers.into_iter().map(|healer| healer.value).collect(),
        });
    }
    if routes.is_empty() {
        routes.extend(default_route(plugins));
        show_routes(doc, &routes);
    }
    routes.sort_by_key(|route| (breadth(&route.kind), breadth(&route.target)));
    IncidentConfig {
        hold_ms: typed.hold_ms,
        proofs_wanted: typed.proofs_wanted,
        decide_timeout_ms: typed.decide_timeout_ms,
        stuck_retry_ms: typed.stuck_retry_ms,
        routes,
        explains: typed.explains,
    }
}

fn check_route(doc: &Document<'_>, route: &TypedRoute, plugins: &[&str], graph: &Graph) {
    note_unknown_target(doc, &format!("{}.target", route.place), &route.target, graph);
    for healer in route.healers.iter().filter(|healer| !plugins.contains(&healer.value.as_str())) {
        let place = format!("{}.healers", route.place);
        let hint = suggest(&healer.value, plugins, "plugins");
        let found = value::quoted(&healer.value);
        doc.note(healer.offset, &place, "plugins of this file", found, Some(hint));
    }
}

/// Where no route is written, every plugin that was granted an action is asked
/// about everything, in the file's order.
fn default_route(plugins: &[PluginConfig]) -> Option<Route> {
    let healers: Vec<_> =
        plugins.iter().filter(|p| !p.grants.is_empty()).map(|p| p.name.clone()).collect();
    let everything = || "*".to_owned();
    (!healers.is_empty()).then(|| Route { kind: everything(), target: everything(), healers })
}

fn show_routes(doc: &Document<'_>, routes: &[Route]) {
    let mut shown = doc.shown.borrow_mut();
    for route in routes {
        let table = shown.open("[[incident.route]]", "incident.route[1]");
        let mut put = |key, value| shown.put(table, key, value, ValueOrigin::Default);
        put("kind", route.kind.as_str().into());
        put("target", route.target.as_str().into());
        put("healers", route.healers.clone().into());
    }
}

/// Sorts the most specific selector first: whole names, then long prefixes.
fn breadth(selector: &str) -> (bool, std::cmp::Reverse<usize>) {
    (selector.ends_with('*'), std::cmp::Reverse(selector.len()))
}

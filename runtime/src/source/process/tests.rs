use super::*;
use crate::config::{LimitsConfig, WorkloadKind};
use crate::source::fixture::{Pretend, Proc};

/// A pretend box with one workload, `m`, whose main process is 100.
struct Story {
    proc: Proc,
    processes: Processes,
    registry: Registry,
    status: WorkloadStatus,
}

impl Story {
    fn new() -> Self {
        let proc = Proc::new();
        let mut registry = Registry::default();
        let processes = Processes::new(proc.root(), &[workload("m")], &mut registry);
        let status = WorkloadStatus {
            state: WorkloadState::Running,
            attempt: None,
            pid: Some(100),
            shim_pid: Some(90),
            cgroup: None,
            starts: 1,
            detail: String::new(),
        };
        Self { proc, processes, registry, status }
    }

    /// Puts processes 100, 101, … into a cgroup.
    fn with_cgroup(mut self, procs: &str) -> Self {
        self.proc.write("cgroup/m/cgroup.procs", procs);
        self.status.cgroup = Some(self.proc.path("cgroup/m"));
        self
    }

    fn sample(&mut self, now_ms: u64) -> BTreeMap<String, f64> {
        let snapshot = BTreeMap::from([("m".to_owned(), self.status.clone())]);
        let mut values = Values::new();
        self.processes.sample(now_ms, &snapshot, &mut values);
        values.iter().map(|(id, value)| (self.registry.describe(*id), *value)).collect()
    }
}

fn workload(name: &str) -> WorkloadConfig {
    WorkloadConfig {
        kind: WorkloadKind::Process,
        name: name.to_owned(),
        command: vec!["/bin/true".to_owned()],
        env: BTreeMap::new(),
        dir: None,
        user: None,
        limits: LimitsConfig::default(),
        replicas: None,
        needs: vec![],
        desired_running: true,
        stop_deadline_ms: 1000,
        start_grace_ms: 1000,
        log_max_bytes: 1,
        log_files: 1,
        probes: vec![],
    }
}

const CPU: &str = "process.cpu.utilization";
const MEMORY: &str = "process.memory.usage";
const THREADS: &str = "process.thread.count";
const FILES: &str = "process.unix.file_descriptor.count";
const RUNNING: &str = "homeostat.workload.running";

#[test]
fn a_tree_is_summed_with_what_its_shim_took_over_and_without_the_shim_or_strangers() {
    let mut story = Story::new();
    story.proc.process(Pretend { pid: 90, parent: 1, threads: 9, ..Pretend::default() });
    story.proc.process(Pretend { pid: 100, parent: 90, threads: 4, ..Pretend::default() });
    story.proc.process(Pretend { pid: 110, parent: 100, threads: 2, ..Pretend::default() });
    story.proc.process(Pretend { pid: 111, parent: 110, ..Pretend::default() });
    // Its parent ended; the shim is the subreaper.
    story.proc.process(Pretend { pid: 112, parent: 90, ..Pretend::default() });
    story.proc.process(Pretend { pid: 200, parent: 1, threads: 50, ..Pretend::default() });

    let read = story.sample(60_000);
    assert_eq!(read[RUNNING], 1.0);
    assert_eq!(read[THREADS], 8.0);
    assert_eq!(read[FILES], 12.0);
    assert!(!read.contains_key(CPU), "one look says nothing about a rate");
}

#[test]
fn a_cgroup_names_the_processes_and_the_groups_below_it_count() {
    let mut story = Story::new().with_cgroup("90\n100\n");
    story.proc.write("cgroup/m/inner/cgroup.procs", "130\n");
    for pid in [90, 100, 130, 200] {
        story.proc.process(Pretend { pid, parent: 100, ..Pretend::default() });
    }
    let read = story.sample(60_000);
    assert_eq!(read[THREADS], 2.0, "not the shim, not the child that left the group");
    assert_eq!(read[MEMORY], (2 * 10 * story.processes.table.page_bytes()) as f64);
}

#[test]
fn cpu_is_in_cores_over_the_time_that_went_by() {
    let mut story = Story::new().with_cgroup("100\n101\n");
    story.proc.process(Pretend { pid: 100, ticks: 1000, ..Pretend::default() });
    story.proc.process(Pretend { pid: 101, ticks: 500, ..Pretend::default() });
    story.sample(60_000);
    // 2 s later: one core of one, half a core of the other.
    story.proc.process(Pretend { pid: 100, ticks: 1200, ..Pretend::default() });
    story.proc.process(Pretend { pid: 101, ticks: 600, ..Pretend::default() });
    assert_eq!(story.sample(62_000)[CPU], 1.5);
}

#[test]
fn the_cgroups_own_account_is_preferred_because_it_knows_the_ended() {
    let mut story = Story::new().with_cgroup("100\n");
    story.proc.process(Pretend::default());
    story.proc.write("cgroup/m/cpu.stat", "usage_usec 1000000\nuser_usec 1\n");
    assert!(!story.sample(60_000).contains_key(CPU));
    story.proc.write("cgroup/m/cpu.stat", "usage_usec 4000000\nuser_usec 1\n");
    assert_eq!(story.sample(62_000)[CPU], 1.5);
    // A new group under the old name begins at zero: no reading, not a negative one.
    story.proc.write("cgroup/m/cpu.stat", "usage_usec 10\nuser_usec 1\n");
    assert!(!story.sample(63_000).contains_key(CPU));
}

#[test]
fn a_pid_given_away_again_is_not_compared_with_the_one_before() {
    let mut story = Story::new().with_cgroup("100\n101\n");
    story.proc.process(Pretend { pid: 100, ticks: 0, ..Pretend::default() });
    story.proc.process(Pretend { pid: 101, ticks: 900_000, ..Pretend::default() });
    story.sample(60_000);
    // 101 is another process now, started half a second ago (tick 6050).
    story.proc.process(Pretend { pid: 101, ticks: 40, start: 6_050, ..Pretend::default() });
    assert_eq!(story.sample(61_000)[CPU], 0.4);
}

#[test]
fn a_process_that_joined_with_a_past_is_not_counted_until_its_second_look() {
    let mut story = Story::new().with_cgroup("100\n");
    story.proc.process(Pretend { pid: 100, ticks: 0, ..Pretend::default() });
    story.sample(60_000);
    story.proc.write("cgroup/m/cgroup.procs", "100\n101\n");
    story.proc.process(Pretend { pid: 101, ticks: 5_000, ..Pretend::default() });
    assert_eq!(story.sample(61_000)[CPU], 0.0);
    story.proc.process(Pretend { pid: 101, ticks: 5_100, ..Pretend::default() });
    assert_eq!(story.sample(62_000)[CPU], 1.0);
}

#[test]
fn a_stranger_under_a_descendants_pid_is_not_ours() {
    let mut story = Story::new();
    story.proc.process(Pretend { pid: 100, parent: 90, ..Pretend::default() });
    story.proc.process(Pretend { pid: 101, parent: 100, threads: 2, ..Pretend::default() });
    assert_eq!(story.sample(60_000)[THREADS], 3.0);
    story.proc.process(Pretend { pid: 101, parent: 1, start: 6_000, ..Pretend::default() });
    assert_eq!(story.sample(61_000)[THREADS], 1.0, "before the family is read anew");
    assert_eq!(story.sample(70_000)[THREADS], 1.0, "and after");
}

#[test]
fn a_cgroup_is_believed_over_an_older_family() {
    let mut story = Story::new();
    story.proc.process(Pretend { pid: 100, ..Pretend::default() });
    story.proc.process(Pretend { pid: 101, parent: 1, ..Pretend::default() });
    assert_eq!(story.sample(60_000)[THREADS], 1.0);
    // 101 was a stranger's, and is ours now.
    let mut story = story.with_cgroup("100\n101\n");
    story.proc.process(Pretend { pid: 101, start: 6_000, ..Pretend::default() });
    assert_eq!(story.sample(61_000)[THREADS], 2.0);
}

#[test]
fn a_process_that_vanished_is_left_out_and_a_malformed_one_makes_the_sum_unknown() {
    let mut story = Story::new().with_cgroup("100\n101\n");
    story.proc.process(Pretend { pid: 100, ..Pretend::default() });
    story.proc.process(Pretend { pid: 101, ..Pretend::default() });
    assert_eq!(story.sample(60_000)[THREADS], 2.0);

    story.proc.remove_process(101);
    assert_eq!(story.sample(61_000)[THREADS], 1.0);

    story.proc.write("101/stat", "101 (x) S 1 2");
    let read = story.sample(62_000);
    assert_eq!(read.keys().collect::<Vec<_>>(), [RUNNING], "a partial sum would be a lie");
    assert!(story.processes.workloads[0].said.failing());

    story.proc.process(Pretend { pid: 101, ..Pretend::default() });
    assert_eq!(story.sample(63_000)[THREADS], 2.0);
    assert!(!story.processes.workloads[0].said.failing());
}

#[test]
fn files_that_may_not_be_counted_cost_only_their_own_reading() {
    let mut story = Story::new().with_cgroup("100\n");
    story.proc.process(Pretend::default());
    std::fs::remove_dir_all(story.proc.path("100/fd")).unwrap();
    // Not a folder: the error is neither «gone» nor a count.
    story.proc.write("100/fd", "");
    let read = story.sample(60_000);
    assert!(!read.contains_key(FILES) && read.contains_key(MEMORY));
    assert!(story.processes.workloads[0].files_said.failing());
}

#[test]
fn a_zombie_uses_nothing() {
    let mut story = Story::new().with_cgroup("100\n101\n");
    story.proc.process(Pretend { pid: 100, ..Pretend::default() });
    story.proc.process(Pretend { pid: 101, state: 'Z', ..Pretend::default() });
    assert_eq!(story.sample(60_000)[THREADS], 1.0);
    story.proc.process(Pretend { pid: 100, state: 'Z', ..Pretend::default() });
    let read = story.sample(61_000);
    assert!(!read.contains_key(THREADS) && !read.contains_key(MEMORY));
}

#[test]
fn a_stopped_workload_has_the_one_reading_that_it_does_not_run() {
    let mut story = Story::new();
    for state in [WorkloadState::Stopped, WorkloadState::Exited] {
        story.status.state = state;
        let read = story.sample(60_000);
        assert_eq!(read.into_iter().collect::<Vec<_>>(), [(RUNNING.to_owned(), 0.0)]);
    }
}

#[test]
fn a_workload_nobody_knows_the_state_of_has_no_readings() {
    let mut story = Story::new();
    let mut values = Values::new();
    story.processes.sample(60_000, &BTreeMap::new(), &mut values);
    assert!(values.is_empty());
}

#[test]
fn a_new_main_process_does_not_inherit_the_old_ones_account() {
    let mut story = Story::new().with_cgroup("100\n");
    story.proc.process(Pretend { pid: 100, ticks: 70_000, ..Pretend::default() });
    story.sample(60_000);
    story.proc.remove_process(100);
    story.proc.write("cgroup/m/cgroup.procs", "102\n");
    story.status.pid = Some(102);
    story.proc.process(Pretend { pid: 102, ticks: 30, start: 6_020, ..Pretend::default() });
    assert_eq!(story.sample(61_000)[CPU], 0.3);
}

#[test]
fn a_fork_bomb_is_not_read_to_its_end() {
    let many: String = (1..=MEMBERS_MAX + 1).map(|pid| format!("{pid}\n")).collect();
    let mut story = Story::new().with_cgroup(&many);
    let read = story.sample(60_000);
    assert_eq!(read.keys().collect::<Vec<_>>(), [RUNNING]);
}

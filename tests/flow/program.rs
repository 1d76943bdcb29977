//! The built binary, as a user or a service manager runs it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::testbed::fresh;

/// A process that is ended with the test.
pub struct Program {
    child: Child,
    log: PathBuf,
    arguments: Vec<String>,
}

/// How a process ended.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub log: String,
    pub took: Duration,
}

impl Ended {
    /// Panics with the log unless all went well.
    pub fn well(self) -> Ended {
        assert_eq!(self.code, Some(0), "{}", self.log);
        self
    }

    /// A failure that is told so.
    pub fn with(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{}", self.log);
        for word in words {
            assert!(self.log.contains(word), "`{word}` is missing from\n{}", self.log);
        }
        assert!(!self.log.contains("panicked"), "{}", self.log);
    }
}

impl Program {
    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success(), "{}", self.log());
    }

    /// Stops all of its threads where they are, as a machine does that hangs; its sockets stay open.
    pub fn pause(&self) {
        self.signal("-STOP");
    }

    pub fn resume(&self) {
        self.signal("-CONT");
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// The most memory it ever had, in bytes.
    pub fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }

    /// Bytes that it read of anything so far.
    pub fn bytes_read(&self) -> u64 {
        let told = std::fs::read_to_string(format!("/proc/{}/io", self.child.id())).unwrap();
        told.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap()
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for the end; for at most two minutes.
    pub fn end(mut self) -> Ended {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return Ended { code: status.code(), log: self.log(), took: begun.elapsed() };
            }
            assert!(begun.elapsed() < Duration::from_secs(120), "{:?} does not end:\n{}", self.arguments, self.log());
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }

    /// A clean stop, as a service manager asks for it.
    pub fn terminate(self) -> Ended {
        self.signal("-TERM");
        self.end()
    }

    pub fn kill(mut self) -> String {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.log()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A folder with a configuration, from which the program is started.
pub struct Desk {
    pub folder: TempDir,
    pub group: String,
}

impl Desk {
    pub fn new(configuration: &str) -> Desk {
        let folder = tempfile::tempdir().unwrap();
        let group = fresh("group");
        let text = configuration.replace("start = \"earliest\"", &format!("start = \"earliest\"\ngroup = \"{group}\""));
        std::fs::write(folder.path().join("tidewatch.toml"), text).unwrap();
        Desk { folder, group }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn start(&self, arguments: &[&str]) -> Program {
        self.start_with(arguments, &[])
    }

    pub fn start_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Program {
        let log = self.path(&fresh("log"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidewatch"));
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("TIDEWATCH_")) {
            command.env_remove(name);
        }
        command.args(arguments).envs(environment.iter().copied()).current_dir(self.folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(std::fs::File::create(&log).unwrap());
        let child = command.spawn().unwrap();
        Program { child, log, arguments: arguments.iter().map(|word| (*word).to_owned()).collect() }
    }

    /// Runs to the end, and gives what stands on standard output. Panics with the log unless all went well.
    pub fn say(&self, arguments: &[&str]) -> String {
        let output = Command::new(env!("CARGO_BIN_EXE_tidewatch"))
            .args(arguments)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{arguments:?}: {}{said}", String::from_utf8_lossy(&output.stderr));
        said
    }

    /// The processes of a cluster, on free ports of this machine.
    pub fn start_cluster(&self, processes: usize, arguments: &[&str]) -> Vec<Program> {
        let hosts = self.path(&fresh("hosts"));
        let listeners: Vec<_> = (0..processes).map(|_| std::net::TcpListener::bind("localhost:0").unwrap()).collect();
        let ports = listeners.iter().map(|listener| listener.local_addr().unwrap().port());
        let lines: String = ports.map(|port| format!("localhost:{port}\n")).collect();
        std::fs::write(&hosts, lines).unwrap();
        drop(listeners);
        let count = processes.to_string();
        let start = |process: usize| {
            let process = process.to_string();
            let cluster = ["-n", &count, "-p", &process, "--hosts", hosts.to_str().unwrap()];
            self.start(&[arguments, &cluster].concat())
        };
        (0..processes).map(start).collect()
    }
}

/// The example's configuration on a topic, with its own time limits and one more window. `detects`: the example's model scores
/// each event.
pub fn configuration(brokers: &str, topic: &str, detects: bool) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut text = std::fs::read_to_string(root.join("examples/iomt/tidewatch.toml")).unwrap();
    let mut replace = |old: &str, new: &str| {
        assert!(text.contains(old), "the example says `{old}` no longer");
        text = text.replace(old, new);
    };
    replace("\"localhost:9092\"", &format!("{brokers:?}"));
    replace("[\"iomt-flows\"]", &format!("[{topic:?}]"));
    replace("\"models/iomt\"", &format!("{:?}", root.join("models/iomt")));
    replace("\"label\" = \"text\"\n", "\"label\" = \"text\"\n\"level\" = \"float\"\n");
    replace("allowed_lateness = \"10m\"", "allowed_lateness = \"30s\"");
    replace("checkpoint_every = \"10s\"", "checkpoint_every = \"500ms\"\nepoch = \"50ms\"");
    replace("publish_every = \"1m\"", "publish_every = \"1s\"");
    if !detects {
        let (from, to) = (text.find("# An autoencoder").unwrap(), text.find("[output]").unwrap());
        text.replace_range(from..to, "");
    }
    text.push_str(
        r#"
[[windows]]
name = "by_device"
size = "60s"
slide = "10s"
by = ["device"]
[windows.aggregates]
"level" = ["mean", "stddev", "median", "p95", "first", "last", "distinct"]
"#,
    );
    text
}

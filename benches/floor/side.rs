//! One run of the generator against one side, and what all runs came to.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// Who is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// A node with so many shards.
    Node(usize),
    /// The floor with so many threads, and so many frames in a write; 0: all that have arrived.
    Floor(usize, usize),
    /// The floor with one thread, where each event goes to one client.
    FloorToOne,
}

impl Side {
    /// Runs the generator against it once; both are processes of their own, and fresh. No report where a client did not
    /// get what it must.
    fn run(self, arguments: &[String]) -> Option<Value> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_omnicast"));
        command.args(["bench", "--json"]).args(arguments).env_remove("WS_JWT_SECRET");
        let _floor = match self {
            Side::Node(shards) => {
                command.args(["--spawn", "--shards", &shards.to_string()]);
                None
            }
            Side::Floor(..) | Side::FloorToOne => {
                let (floor, url) = match self {
                    Side::Floor(threads, gather) => Floor::start(threads, &gather.to_string()),
                    _ => Floor::start(1, "one"),
                };
                command.args(["--bare", &url, "--pid", &floor.0.id().to_string()]);
                Some(floor)
            }
        };
        let output = command.stderr(Stdio::inherit()).output().unwrap();
        if !output.status.success() {
            let told = String::from_utf8_lossy(&output.stdout);
            eprintln!("{self:?} {arguments:?}: {}: {told}", output.status);
            return None;
        }
        Some(serde_json::from_slice(&output.stdout).unwrap())
    }
}

struct Floor(Child);

impl Floor {
    fn start(threads: usize, gather: &str) -> (Floor, String) {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--serve", &threads.to_string(), gather])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        (Floor(child), line.trim().to_owned())
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Figures by name, one for each round.
#[derive(Default)]
pub struct Runs {
    figures: BTreeMap<String, Vec<f64>>,
    raw: Vec<Value>,
    /// Runs that have no figures, because something was lost.
    pub failed: u32,
}

impl Runs {
    /// Measures `sides` in turn, or backwards, and keeps a figure of each: the run's name of it, and where it stands.
    pub fn turn(
        &mut self,
        sides: &[(&str, Side)],
        backwards: bool,
        arguments: &str,
        figures: &[(&str, &str)],
    ) {
        let arguments: Vec<String> = arguments.split_whitespace().map(str::to_owned).collect();
        let mut sides = sides.to_vec();
        if backwards {
            sides.reverse();
        }
        for (name, side) in sides {
            let Some(report) = side.run(&arguments) else {
                self.failed += 1;
                continue;
            };
            for (figure, path) in figures {
                if let Some(value) = report.pointer(path).and_then(Value::as_f64) {
                    self.figures.entry(format!("{figure} {name}")).or_default().push(value);
                }
            }
            self.raw.push(serde_json::json!({ "side": name, "arguments": arguments, "report": report }));
        }
    }

    /// All values of a figure.
    pub fn values(&self, figure: &str, side: &str) -> &[f64] {
        self.figures.get(&format!("{figure} {side}")).map_or(&[], Vec::as_slice)
    }

    /// Everything, as JSON.
    pub fn raw(&self) -> String {
        serde_json::to_string_pretty(&self.raw).unwrap()
    }
}

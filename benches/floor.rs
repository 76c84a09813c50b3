//! A real node under real connections, beside the floor: the least that any server must do. They take turns, in the
//! same run, driven by the same generator (`omnicast bench`), and every figure of the node is quoted as a ratio.
//!
//! ```text
//! cargo bench --bench floor                          # everything, about six minutes
//! cargo bench --bench floor -- --only closed,posts   # some rows
//! cargo bench --bench floor -- --connections 2000 --rounds 5 --raw runs.json
//! ```
//!
//! The machine's other work moves absolute figures a lot: quote the ratios.

#[path = "floor/rows.rs"]
mod rows;
#[path = "floor/server.rs"]
mod server;
#[path = "floor/side.rs"]
mod side;

use rows::{Options, ROWS};
use side::Runs;

fn options(arguments: &[String]) -> Options {
    let mut options = Options::default();
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().unwrap_or_else(|| panic!("{argument} takes a value"));
        match argument.as_str() {
            "--connections" => options.connections = value().parse().expect("a number"),
            "--rounds" => options.rounds = value().parse().expect("a number"),
            "--only" => options.only = value().split(',').map(str::to_owned).collect(),
            "--raw" => options.raw = Some(value().into()),
            // As `cargo test --benches` asks: does it run at all?
            "--test" => options = Options::smoke(),
            "--bench" => {}
            other => panic!("unknown argument {other}"),
        }
    }
    for name in &options.only {
        assert!(ROWS.iter().any(|row| row.name == name), "there is no row {name}");
    }
    options
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "--serve") {
        server::serve(&arguments[1..]);
    }
    let options = options(&arguments);
    let mut runs = Runs::default();
    for round in 0..options.rounds {
        eprintln!("round {} of {}", round + 1, options.rounds);
        for row in ROWS.iter().filter(|row| options.wants(row.name)) {
            (row.measure)(&options, &mut runs, round % 2 == 1);
        }
        if let Some(path) = &options.raw {
            std::fs::write(path, runs.raw()).unwrap();
        }
    }
    println!("{}", rows::table(&options, &runs));
    if runs.failed > 0 {
        eprintln!("{} runs failed and are not in the table", runs.failed);
        std::process::exit(1);
    }
}

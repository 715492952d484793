//! Runs simulations: `--seed N` one of them, `--hours H` many.

use std::time::Instant;

use lockbroker_sim::{Choices, Report, World};

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let value = |name: &str| args.iter().position(|arg| arg == name).and_then(|at| args.get(at + 1)?.parse::<u64>().ok());
    let traced = args.iter().any(|arg| arg == "--trace");
    if let Some(seed) = value("--seed") {
        let mut world = World::new(Choices::seeded(seed, 0), None, traced);
        let violation = world.run();
        for line in world.lines() {
            println!("{line}");
        }
        if traced { println!("{:#?}", world.options); }
        println!("{}", world.report);
        println!("trace {:016x}: {violation:?}", world.hash());
        return;
    }
    let first = value("--first").unwrap_or(1);
    let count = value("--count").unwrap_or(1_000);
    let mut report = Report::default();
    let began = Instant::now();
    let mut failures = 0;
    for seed in first..first + count {
        let run = std::panic::catch_unwind(|| {
            let mut world = World::new(Choices::seeded(seed, 0), None, false);
            let violation = world.run();
            (world.report.clone(), violation, world.check.violation.is_some())
        });
        match run {
            Ok((one, violation, _)) => {
                report.add(&one);
                if let Some(violation) = violation {
                    println!("seed {seed}: {violation}");
                    failures += 1;
                }
            }
            Err(_) => {
                println!("seed {seed}: panicked");
                failures += 1;
            }
        }
        if failures > value("--failures").unwrap_or(10) { break; }
    }
    print!("{report}");
    let minutes = began.elapsed().as_secs_f64() / 60.0;
    println!("{:.1} simulated hours a minute, {failures} failures", report.hours() / minutes);
}

//! Runs simulations: `--seed N` one of them, `--hours H` many.
fn main() -> std::process::ExitCode {
    lockbroker_sim::command::main()
}

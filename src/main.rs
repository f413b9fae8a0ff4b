//! The `replproxy` program. Everything is in the library; `src/cli` reads the command line.

fn main() -> std::process::ExitCode {
    replproxy::cli::main(std::env::args_os())
}

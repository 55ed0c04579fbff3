//! The encoder program behind the stand-in for NVENC. Nobody calls it by hand: the stand-in starts one for each session.

use std::io;
use std::process::ExitCode;

use rungs_testkit::standin::encoder::serve;

fn main() -> ExitCode {
    // The stand-in hears of a broken pipe by itself.
    match serve(io::stdin().lock(), io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

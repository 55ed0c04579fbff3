//! `rungs verify`: a package against its journal, one line for each thing that is wrong.

use std::io::Write;

use rungs_engine::Cancel;
use rungs_engine::journal::{Depth, verify};

use crate::args::VerifyArgs;
use crate::failure::{Problem, clean};
use crate::print;
use crate::workshop::Interrupts;

pub(crate) fn run(args: &VerifyArgs) -> Result<(), Problem> {
    let cancel = Cancel::new();
    let _signals = Interrupts::watch(cancel.clone())
        .map_err(|error| Problem::system("signal handlers", &error))?;
    let depth = if args.quick {
        Depth::Boxes
    } else {
        Depth::Pictures
    };
    let verified = verify(&args.output, depth, &cancel)?;
    print(|text| {
        for finding in &verified.findings {
            writeln!(text, "{}", clean(&finding.to_string()))?;
        }
        Ok(())
    })?;
    if cancel.is_cancelled() {
        return Err(Problem::from(rungs_engine::Error::Interrupted));
    }
    let count = verified.findings.len();
    if count > 0 {
        let faults = if count == 1 { "fault" } else { "faults" };
        let what = format!(
            "the package in {} has {count} {faults}",
            args.output.display()
        );
        return Err(Problem::failed(
            what,
            "run its `rungs package` command again, or `rungs resume`: what is damaged is made again",
        ));
    }
    print(|text| {
        let (segments, bytes, decoded) = (verified.segments, verified.bytes, verified.decoded);
        write!(
            text,
            "nothing is wrong: {segments} segments of {bytes} bytes"
        )?;
        if depth == Depth::Pictures {
            write!(text, ", {decoded} pictures and packets of sound decoded")?;
        }
        writeln!(text)
    })
}

//! Writes an example for each parser into the folder of its corpus, and prints the names of all targets, one a line.

use std::path::Path;
use std::{fs, io};

use rungs_testkit::parsers::PARSERS;

fn main() -> io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for parser in PARSERS {
        let folder = corpus.join(parser.name);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("example"), parser.example)?;
        println!("{}", parser.name);
    }
    fs::create_dir_all(corpus.join("wire"))?;
    println!("wire");
    Ok(())
}

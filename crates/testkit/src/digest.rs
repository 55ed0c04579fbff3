//! One number for a whole package: two packages are the same when their digests are.

use std::fs;
use std::io;
use std::path::Path;

use rungs_package::Digest;
use rungs_package::digest::Hasher;
use rungs_package::output::files_below;

/// What two runs of one job may write differently: times, and the job's own files.
const ASIDE: [&str; 2] = ["report.json", ".rungs"];

/// Takes the digest of all files of a package with their names, `report.json` and `.rungs` aside. Blocks while it reads them.
pub fn package_digest(root: &Path) -> io::Result<Digest> {
    let mut hasher = Hasher::default();
    for name in package_files(root)? {
        let bytes = fs::read(root.join(&name))?;
        for part in [name.as_bytes(), &bytes] {
            hasher.add(&(part.len() as u64).to_be_bytes());
            hasher.add(part);
        }
    }
    Ok(hasher.finish())
}

/// Lists the files that the digest is taken of, relative to the package, in order.
pub fn package_files(root: &Path) -> io::Result<Vec<String>> {
    files_below(root, &ASIDE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_bytes_count_and_the_report_does_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        let put = |name: &str, text: &str| {
            let path = root.join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("it can be made");
            fs::write(path, text).expect("it can be written");
            package_digest(root).expect("it can be read")
        };
        let one = put("video/a/init.mp4", "abc");
        assert_eq!(put("report.json", "{}"), one);
        assert_eq!(put(".rungs/plan.json", "{}"), one);
        assert_ne!(put("video/a/init.mp4", "abd"), one);
        assert_eq!(put("video/a/init.mp4", "abc"), one);
        assert_ne!(put("video/a/seg", ""), one);
    }
}

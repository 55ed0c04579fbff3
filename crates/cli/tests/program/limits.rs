//! The program where the system gives it little: few processes, descriptors, bytes of a file or of memory. Whatever it cannot do, it
//! says so and ends by itself.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rungs_testkit::clips::{Audio, Clip};
use rungs_testkit::tool;

use crate::support::{Answer, Running, ready};

/// Nobody else has processes under this number, and limits of processes do not bind the superuser.
const USER: u32 = 61_173;

/// A small film and a package of it, where any user may read and write.
struct Place {
    folder: tempfile::TempDir,
    film: PathBuf,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let open = |path: &Path| {
            let all = Permissions::from_mode(0o777);
            fs::set_permissions(path, all).expect("it is ours");
        };
        open(folder.path());
        let film = folder.path().join("film.mp4");
        let clip = Clip::new().size(160, 90).seconds(2.0).gop(12);
        fs::copy(clip.audio(Audio::Stereo).make(), &film).expect("a copy");
        let place = Self { folder, film };
        let package = place.path("package");
        let made = place.run(&[], &place.line("package", &package));
        assert_eq!(made.code, Some(0), "{}", made.stderr);
        let mut copy = Command::new("cp");
        copy.arg("-r").arg(&package).arg(place.path("begun"));
        as_user(&mut copy);
        assert!(copy.status().expect("cp runs").success());
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn line(&self, command: &str, out: &Path) -> Vec<PathBuf> {
        let options = ["--codec", "h264", "--speed", "13", "--decode-device", "cpu"];
        let mut line = vec![PathBuf::from(command), self.film.clone()];
        line.extend(["-o".into(), out.to_owned()]);
        line.extend(options.map(PathBuf::from));
        line
    }

    /// Each command on fresh outputs.
    fn commands(&self, number: u32) -> Vec<Vec<PathBuf>> {
        let out = |name: &str| self.path(&format!("{name}-{number}"));
        let mut join = self.line("join", &out("join.mp4"));
        join.insert(1, self.film.clone());
        let words = |words: &[&str]| words.iter().map(PathBuf::from).collect::<Vec<_>>();
        let with = |command: &str, path: PathBuf| vec![PathBuf::from(command), path];
        vec![
            self.line("package", &out("package")),
            self.line("transcode", &out("transcode.mp4")),
            join,
            with("probe", self.film.clone()),
            words(&["devices"]),
            with("verify", self.path("package")),
            with("resume", self.path("begun")),
        ]
    }

    /// Runs the program under these limits of `prlimit`, as a user of its own where this one may do that.
    fn run<A: AsRef<OsStr>>(&self, limits: &[String], line: &[A]) -> Answer {
        let mut command = Command::new("prlimit");
        command.args(limits).arg("--");
        command.arg(env!("CARGO_BIN_EXE_rungs")).args(line);
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command.env("HOME", self.folder.path());
        as_user(&mut command);
        Running::start_as(command).end()
    }

    /// Runs every command under limits, and sees that each ends with a code of its own and, if it fails, with a reason.
    fn survives(&self, number: u32, limits: &[String]) {
        for line in self.commands(number) {
            let answer = self.run(limits, &line);
            let told = format!("{limits:?} {line:?}: {answer:?}");
            assert!(matches!(answer.code, Some(0 | 1 | 3)), "{told}");
            assert!(!answer.stderr.contains("panicked"), "{told}");
            assert!(
                answer.code == Some(0) || answer.stderr.contains("error: "),
                "{told}"
            );
        }
    }
}

/// Runs a program as a user whom limits bind, if this one may do that.
fn as_user(command: &mut Command) {
    if rustix::process::geteuid().is_root() {
        command.uid(USER).gid(USER);
    }
}

fn limited() -> bool {
    ready() && tool::require("prlimit").is_some()
}

#[test]
fn few_processes_and_threads_are_said_to_be_too_few() {
    if !limited() {
        return;
    }
    let place = Place::new();
    for most in [1, 3, 5, 8, 11] {
        place.survives(most, &[format!("--nproc={most}")]);
    }
}

#[test]
fn few_descriptors_are_said_to_be_too_few() {
    if !limited() {
        return;
    }
    let place = Place::new();
    for most in [5, 8, 16] {
        place.survives(most, &[format!("--nofile={most}")]);
    }
}

#[test]
fn files_at_their_limit_are_an_error() {
    if !limited() {
        return;
    }
    let place = Place::new();
    for most in [0, 1024, 20_000] {
        place.survives(most, &[format!("--fsize={most}")]);
    }
}

#[test]
fn little_address_space_is_an_error() {
    if !limited() {
        return;
    }
    let place = Place::new();
    for mebibytes in [300, 500] {
        let bytes = u64::from(mebibytes) << 20;
        place.survives(mebibytes, &[format!("--as={bytes}")]);
    }
}

//! A machine with NVIDIA cards that are none: the stand-ins for the driver, laid out for the programs of a test, and a guard that
//! fails the test if one of them used the driver as a real one does not bear.
//!
//! ```text
//! test ─► Standin ─► environment of a program ─► FFmpeg's own wrappers ─► libcuda.so.1, libnvidia-encode.so.1, libnvidia-ml.so.1
//!            └◄──────────────────── log: what was asked, what was planned to fail, misuse ◄─────────┘
//! ```
//!
//! Only programs that get [`Standin::variables`] see the cards: the test itself never loads the libraries.

pub mod encoder;

use std::collections::BTreeMap;
use std::env::{self, current_exe};
use std::ffi::OsString;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::time::Timespec;
use tempfile::TempDir;

/// The libraries as cargo calls them, and their names to programs.
const LIBRARIES: [(&str, &str); 3] = [
    ("libstandin_cuda.so", "libcuda.so.1"),
    ("libstandin_nvenc.so", "libnvidia-encode.so.1"),
    ("libstandin_nvml.so", "libnvidia-ml.so.1"),
];
/// How long a line of the log is waited for: a program that hangs must fail a test, not stop it.
const LIMIT: Duration = Duration::from_mins(2);
const PATH: &str = "LD_LIBRARY_PATH";
/// Where programs keep what they found out of the cards, and the file of it.
const CACHE: &str = "XDG_CACHE_HOME";
const KNOWN: &str = "rungs/devices.json";
/// The program that encodes.
const ENCODER: &str = "rungs-standin-encoder";

/// A machine with stand-in cards. Dropping it looks at the log, and panics if the driver was misused.
pub struct Standin {
    folder: TempDir,
    variables: BTreeMap<String, OsString>,
}

impl Standin {
    /// A machine with one card that encodes H.264 with three sessions at once.
    ///
    /// # Panics
    /// If the libraries or the encoder program are not where cargo puts them.
    #[must_use]
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let built = built();
        let libraries = folder.path().join("lib");
        fs::create_dir_all(&libraries).expect("a folder");
        for (from, to) in LIBRARIES {
            let from = built.join("deps").join(from);
            assert!(from.exists(), "cargo did not build {}", from.display());
            symlink(from, libraries.join(to)).expect("a link");
        }
        let state = folder.path().join("state");
        fs::create_dir_all(&state).expect("a folder");
        let mut path = libraries.into_os_string();
        if let Some(already) = env::var_os(PATH) {
            path.push(":");
            path.push(already);
        }
        let mut machine = Self {
            variables: BTreeMap::new(),
            folder,
        };
        let log = machine.log_path();
        fs::write(&log, "").expect("a file");
        for (name, value) in [
            (PATH, path),
            ("RUNGS_STANDIN", "1".into()),
            ("RUNGS_STANDIN_LOG", log.into()),
            ("RUNGS_STANDIN_STATE", state.into()),
            ("RUNGS_STANDIN_ENCODER", encoder_program(&built).into()),
            ("RUNGS_STANDIN_CODECS", "h264".into()),
            ("RUNGS_STANDIN_SESSIONS", "3".into()),
            // A card that is the only one would be tried through Vulkan too, on the device that Mesa makes of the CPU.
            ("VK_ICD_FILENAMES", "/dev/null".into()),
            ("VK_DRIVER_FILES", "/dev/null".into()),
        ] {
            machine.variables.insert(name.to_owned(), value);
        }
        machine
    }

    /// The same with a setting, by its name without `RUNGS_STANDIN_`: see the crate `rungs-standin`.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.set(name, value);
        self
    }

    /// Changes a setting for programs that are started from now on.
    pub fn set(&mut self, name: &str, value: &str) {
        let name = format!("RUNGS_STANDIN_{name}");
        self.variables.insert(name, value.into());
    }

    /// Lets `rungs devices` try the cards as they are set up now, unless this program, on these libraries, has done so
    /// before; what it found out is there for all programs that see the cards. Tests of other processes wait meanwhile.
    ///
    /// # Panics
    /// If the cards cannot be tried.
    pub fn know(&mut self, program: &Path) {
        let built = built();
        let folder = built.with_file_name("tmp").join("standin-known");
        fs::create_dir_all(&folder).expect("a folder");
        let lock = fs::File::create(folder.join("lock")).expect("a file");
        lock.lock().expect("a lock");
        let mut hash = DefaultHasher::new();
        let libraries = LIBRARIES.map(|(name, _)| built.join("deps").join(name));
        for file in libraries.iter().map(PathBuf::as_path).chain([program]) {
            let changed = fs::metadata(file).and_then(|about| about.modified());
            changed.expect("a file").hash(&mut hash);
        }
        let own = |name: &str| name.ends_with("_LOG") || name.ends_with("_STATE") || name == PATH;
        for (name, value) in self.variables().filter(|(name, _)| !own(name)) {
            (name, value).hash(&mut hash);
        }
        let cache = folder.join(format!("{:016x}", hash.finish()));
        self.variables
            .insert(CACHE.to_owned(), cache.clone().into());
        if cache.join(KNOWN).exists() {
            return;
        }
        let mut devices = Command::new(program);
        self.show(&mut devices).arg("devices").stdout(Stdio::null());
        let status = devices.status().expect("the program starts");
        assert!(
            status.success() && cache.join(KNOWN).exists(),
            "the cards are tried"
        );
        self.restart();
    }

    /// Changes the version of the driver; programs know what the cards can with it without trying them again.
    ///
    /// # Panics
    /// If the cards are not [known](Self::know).
    pub fn change_driver(&mut self, from: &str, to: &str) {
        let cache = PathBuf::from(self.variables[CACHE].clone()).join(KNOWN);
        let known = fs::read_to_string(cache).expect("the cards are known");
        assert!(known.contains(from), "the driver is not {from}");
        let cache = self.folder.path().join("cache");
        fs::create_dir_all(cache.join("rungs")).expect("a folder");
        fs::write(cache.join(KNOWN), known.replace(from, to)).expect("a file");
        self.variables.insert(CACHE.to_owned(), cache.into());
        self.set("DRIVER", to);
    }

    /// Waits until a line of the log has this in it.
    ///
    /// # Panics
    /// If there is none in time.
    pub fn wait_for(&self, text: &str) {
        let watch = inotify::init(CreateFlags::CLOEXEC).expect("a watch");
        inotify::add_watch(&watch, self.log_path(), WatchFlags::MODIFY).expect("a watch");
        let until = Instant::now() + LIMIT;
        while !self.log().iter().any(|line| line.contains(text)) {
            let left = until.saturating_duration_since(Instant::now());
            let left = Timespec {
                tv_sec: left.as_secs().cast_signed(),
                tv_nsec: left.subsec_nanos().into(),
            };
            let changed = poll(&mut [PollFd::new(&watch, PollFlags::IN)], Some(&left));
            assert_ne!(changed, Ok(0), "{text:?} is not in the log in time");
            let mut events = [0; 4096];
            rustix::io::read(&watch, &mut events).expect("events");
        }
    }

    /// What a program needs in its environment to see the cards.
    pub fn variables(&self) -> impl Iterator<Item = (&str, &OsString)> {
        let variables = self.variables.iter();
        variables.map(|(name, value)| (name.as_str(), value))
    }

    /// Shows a program the cards.
    pub fn show<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.envs(self.variables())
    }

    /// Mends all cards that were lost, and forgets how many sessions there were.
    ///
    /// # Panics
    /// If the machine's folder is not there.
    pub fn restart(&self) {
        let state = self.folder.path().join("state");
        for entry in fs::read_dir(&state).expect("a folder").flatten() {
            fs::remove_file(entry.path()).expect("a file of the stand-in");
        }
    }

    /// The log so far.
    ///
    /// # Panics
    /// If it is not there.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        let text = fs::read_to_string(self.log_path()).expect("the log");
        text.lines().map(str::to_owned).collect()
    }

    /// What was set up in each session so far, as words such as `codec=h264`.
    #[must_use]
    pub fn sessions(&self) -> Vec<String> {
        let mut lines = self.log();
        lines.retain(|line| {
            line.contains(" asked nvEncInitializeEncoder on ") && line.contains("codec=")
        });
        lines
    }

    /// Whether a fault that was planned has struck.
    #[must_use]
    pub fn has_struck(&self) -> bool {
        self.log().iter().any(|line| line.contains(" planned "))
    }

    /// Looks for misuse so far.
    ///
    /// # Panics
    /// If there is some.
    pub fn check(&self) {
        let mut lines = self.log();
        lines.retain(|line| line.contains(" misuse "));
        assert!(
            lines.is_empty(),
            "a real driver does not bear\n{}",
            lines.join("\n")
        );
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("log")
    }
}

impl Default for Standin {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Standin {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.check();
        }
    }
}

/// The folder of cargo's profile, in which the test lies below `deps`.
fn built() -> PathBuf {
    let test = current_exe().expect("the test is a program");
    let deps = test.ancestors().find(|folder| folder.ends_with("deps"));
    let built = deps.and_then(Path::parent);
    built.expect("cargo puts tests below deps").to_owned()
}

/// The encoder program. It is there whenever this crate's own tests are; where only those of another crate are built, it is
/// built now.
fn encoder_program(built: &Path) -> PathBuf {
    let program = built.join(ENCODER);
    if !program.exists() {
        let profile = match built.file_name().and_then(|name| name.to_str()) {
            Some("debug") | None => "dev",
            Some(profile) => profile,
        };
        let status = Command::new(env!("CARGO"))
            .args(["build", "--locked", "--quiet", "--profile", profile])
            .args(["--package", "rungs-testkit", "--bin", ENCODER])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status()
            .expect("cargo starts");
        assert!(
            status.success() && program.exists(),
            "cargo builds {ENCODER}"
        );
    }
    program
}

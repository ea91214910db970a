//! A PostgreSQL of the tests' own: an empty cluster in a directory that vanishes, on a unix socket and a port of loopback.
//! It ends with the program that started it, however that ends.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use tempfile::TempDir;

/// The password of the cluster's user, which is asked for on TCP.
pub const PASSWORD: &str = "correct horse";

/// Set by `tests/run`: nothing may be left out there.
pub const REQUIRED: &str = "IMAPWARDEN_TEST_POSTGRES";

/// Longest wait for the server.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running cluster.
pub struct Cluster {
    /// Where everything is; the unix socket, too.
    dir: TempDir,
    pub port: u16,
    programs: PathBuf,
    owner: Option<(u32, u32)>,
    /// Waits for the end of its standard input, then ends the server.
    keeper: Option<Child>,
    is_shared: bool,
}

impl Cluster {
    /// One for all tests of this program; `None`, with a message, where PostgreSQL is not installed.
    pub fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<Cluster>> = OnceLock::new();
        // What is static is never dropped: its keeper tidies up.
        SHARED.get_or_init(|| Self::begin("", true)).as_ref()
    }

    /// One of its own, with more settings.
    pub fn start(settings: &str) -> Option<Self> {
        Self::begin(settings, false)
    }

    fn begin(settings: &str, is_shared: bool) -> Option<Self> {
        let Some(programs) = programs() else {
            assert!(
                std::env::var_os(REQUIRED).is_none(),
                "PostgreSQL is not installed; tests/run install brings it"
            );
            // Not by the macro, whose output is hidden of a test that passes.
            let _ = writeln!(
                std::io::stderr(),
                "SKIPPED: PostgreSQL is not installed; tests/run install brings it"
            );
            return None;
        };
        let dir = tempfile::tempdir().unwrap();
        let mut cluster = Self {
            dir,
            // Nobody else gets it at once after we had it.
            port: TcpListener::bind("127.0.0.1:0")
                .unwrap()
                .local_addr()
                .unwrap()
                .port(),
            programs,
            owner: owner(),
            keeper: None,
            is_shared,
        };
        cluster.initialise(settings);
        cluster.run();
        Some(cluster)
    }

    fn initialise(&self, settings: &str) {
        if let Some((user, group)) = self.owner {
            chown(self.dir.path(), Some(user), Some(group)).unwrap();
        }
        fs::set_permissions(self.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let password = self.file("password", PASSWORD);
        let data = self.path("data");
        let mut command = self.program("initdb");
        command.arg("-D").arg(&data).arg("--pwfile").arg(password);
        command.args(["-U", "warden", "-E", "UTF8", "--locale=C", "--no-sync"]);
        command.args(["--auth-local=trust", "--auth-host=scram-sha-256"]);
        let made = command.output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let mut file = fs::OpenOptions::new()
            .append(true)
            .open(data.join("postgresql.conf"))
            .unwrap();
        let text = format!(
            "\nport = {}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = '{}'\nfsync = off\n\
             max_connections = 400\nlog_min_messages = fatal\n{settings}\n",
            self.port,
            self.dir.path().display(),
        );
        file.write_all(text.as_bytes()).unwrap();
    }

    /// Starts the server, and waits until it answers.
    pub fn run(&mut self) {
        let script = r#""$1" -D "$2" >"$2/log" 2>&1 & server=$!; read -r _; kill -INT $server; kill -CONT $server; wait $server; [ -z "$3" ] || rm -rf "$3""#;
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh"]);
        command.arg(self.programs.join("postgres")).arg(self.path("data"));
        if self.is_shared {
            command.arg(self.dir.path());
        }
        self.as_owner(&mut command);
        self.keeper = Some(command.stdin(Stdio::piped()).spawn().unwrap());
        let begun = Instant::now();
        while !self.answers() {
            assert!(begun.elapsed() < PATIENCE, "{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends the server, and waits until it has ended.
    pub fn stop(&mut self) {
        if let Some(mut keeper) = self.keeper.take() {
            drop(keeper.stdin.take());
            let _ = keeper.wait();
        }
    }

    /// Sends a signal to the server and to all that it has started.
    pub fn signal(&self, name: &str) {
        let server = fs::read_to_string(self.path("data/postmaster.pid")).unwrap();
        let server = server.lines().next().unwrap().to_owned();
        let children = Command::new("pgrep").args(["-P", &server]).output().unwrap();
        let children = String::from_utf8(children.stdout).unwrap();
        let sent = Command::new("kill")
            .args(["-s", name, &server])
            .args(children.split_whitespace())
            .stderr(Stdio::null())
            .status();
        // A child may have ended meanwhile.
        let _ = sent.unwrap();
    }

    fn answers(&self) -> bool {
        let mut command = self.program("pg_isready");
        command.arg("-q").arg("-h").arg(self.dir.path());
        command.args(["-p", &self.port.to_string(), "-U", "warden", "-d", "postgres"]);
        command.status().unwrap().success()
    }

    /// Makes an empty database, and answers its name.
    pub fn database(&self) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("d{}", NEXT.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name}"));
        name
    }

    /// Runs SQL, and answers what is printed.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        let mut command = self.program("psql");
        command.arg("-h").arg(self.dir.path());
        command.args(["-p", &self.port.to_string(), "-U", "warden", "-d", database]);
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", sql]);
        let done = command.output().unwrap();
        assert!(
            done.status.success(),
            "{sql}: {}",
            String::from_utf8_lossy(&done.stderr)
        );
        String::from_utf8(done.stdout).unwrap().trim().to_owned()
    }

    /// The URL of a database, over the unix socket.
    pub fn url(&self, database: &str) -> String {
        let dir = self.dir.path().display().to_string().replace('/', "%2F");
        format!("postgres://warden@{dir}:{}/{database}", self.port)
    }

    /// The URL of a database, over TCP: a password is asked for.
    pub fn tcp_url(&self, database: &str) -> String {
        format!("postgres://warden@127.0.0.1:{}/{database}", self.port)
    }

    /// A path in its directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A file that only the server may read.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        if let Some((user, group)) = self.owner {
            chown(&path, Some(user), Some(group)).unwrap();
        }
        path
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("data/log")).unwrap_or_default()
    }

    /// One of PostgreSQL's programs, as whoever owns the cluster.
    pub fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.programs.join(name));
        self.as_owner(&mut command);
        command
    }

    /// PostgreSQL refuses to run as root.
    fn as_owner(&self, command: &mut Command) {
        if let Some((user, group)) = self.owner {
            command.uid(user).gid(group);
        }
        command.current_dir(self.dir.path());
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Where Debian has them, the newest version first; else wherever the shell finds them.
fn programs() -> Option<PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .collect();
    versions.sort();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let newest = versions.pop().map(|(_, path)| path);
    newest
        .into_iter()
        .chain(std::env::split_paths(&path))
        .find(|place| place.join("initdb").exists() && place.join("postgres").exists())
}

/// The user and group to run as, where we are root: those that the package made.
fn owner() -> Option<(u32, u32)> {
    use std::os::unix::fs::MetadataExt;
    if fs::metadata(Path::new("/proc/self")).unwrap().uid() != 0 {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let ids = |line: &str| {
        let mut fields = line.strip_prefix("postgres:")?.split(':').skip(1);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    Some(users.lines().find_map(ids).expect("a user `postgres`"))
}

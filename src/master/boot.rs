//! From a configuration to a master that runs; and what of a configuration a reload can put into force.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{self, Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use nix::libc;

use super::admin::AdminListeners;
use super::control::ControlServer;
use super::crew::Crew;
use super::deaths::Deaths;
use super::hangs::HangWatch;
use super::happenings::Happenings;
use super::ledger::Ledger;
use super::listeners::{ListenError, Listeners};
use super::memory::MemoryWatch;
use super::orders::Orders;
use super::socket_path::SocketPathError;
use super::stacks::Questions;
use super::{
    Agent, FeedState, FileWatch, Loaded, Loader, LoaderBox, Master, Pinned, Program, Systemd,
    Templates, Upgrade,
};
use crate::config::{Binding, Config, Process, Strategy, WorkerCount};
use crate::rate_limit::RateTable;
use crate::replay::ReplayCache;
use crate::scoreboard::{SEATS, Scoreboard};
use crate::supervisor::{self, Generation, Lifetime, Policy, Scale, Supervisor};
use crate::sys::identity::{self, Identity, IdentityError};
use crate::sys::machine::Processors;
use crate::sys::process::{self, ProcessId};
use crate::sys::signals::Signals;
use crate::sys::systemd::{self, InheritedSocket, Notifier};
use crate::sys::{clock, poll};

/// Workers of a master that was killed need this long to notice, in the worst case; until then they hold its ports.
const ORPHANS_PATIENCE: Duration = Duration::from_millis(1500);

/// What the service manager passed in the environment: `sd_notify(3)`, `sd_listen_fds(3)`, `sd_watchdog_enabled(3)`.
#[derive(Debug, Clone, Default)]
#[expect(missing_docs, reason = "the manual pages' own names")]
pub struct ServiceManager {
    pub notify_socket: Option<OsString>,
    pub listen_pid: Option<String>,
    pub listen_fds: Option<String>,
    pub listen_fdnames: Option<String>,
    pub watchdog_usec: Option<String>,
    pub watchdog_pid: Option<String>,
}

/// The listening sockets that this process was started with.
#[derive(Debug)]
pub struct Inherited(Vec<InheritedSocket>);

impl Inherited {
    /// Takes them. First thing in the process: what it opens itself must not be taken for passed.
    pub fn take(manager: &ServiceManager) -> Self {
        let mut sockets = systemd::take_inherited_sockets(
            manager.listen_pid.as_deref(),
            manager.listen_fds.as_deref(),
            manager.listen_fdnames.as_deref(),
        );
        sockets.extend(systemd::take_other_sockets(&sockets));
        Self(sockets)
    }
}

/// A master that cannot start. Nothing was left behind.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A system call that must not fail did.
    #[error("cannot {0}: {1}")]
    System(&'static str, io::Error),
    /// A listener.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The control socket.
    #[error("control socket: {0}")]
    Control(#[from] SocketPathError),
    /// The user or group that workers run as.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The pid file.
    #[error("cannot write `process.pid_file` `{0}`: {1}")]
    PidFile(PathBuf, io::Error),
}

impl Master {
    /// Opens everything that `loaded` names. No worker runs yet; `loader` is what a reload calls, `program` what an upgrade
    /// runs.
    ///
    /// # Errors
    /// Whatever cannot be opened; the message names it.
    pub fn start(
        loaded: Loaded,
        loader: Loader,
        manager: &ServiceManager,
        inherited: Inherited,
        program: Program,
    ) -> Result<Self, StartError> {
        let signals = Signals::take_over()
            .map_err(|errno| StartError::System("take over the signals", errno.into()))?;
        if let Err(error) = process::raise_descriptor_limit() {
            tracing::warn!(%error, "cannot raise the limit on open descriptors");
        }
        let processors = Processors::available();
        let (pinned, policy) = pin(loaded, processors)?;
        let config = &pinned.loaded.config;
        let control = patiently(
            || ControlServer::open(&socket_of(config)),
            SocketPathError::may_pass,
        )?;
        let mut listeners = Listeners::new(inherited.0);
        patiently(
            || listeners.open(&config.server, policy.workers),
            ListenError::may_pass,
        )?;
        let mut admin = AdminListeners::default();
        patiently(|| admin.open(config), ListenError::may_pass)?;
        for name in listeners.unused() {
            tracing::warn!(name, "a socket was passed that `server.bind` does not name");
        }
        let pid_file = config.process.pid_file.clone();
        if let Some(path) = &pid_file {
            write_pid_file(path).map_err(|error| StartError::PidFile(path.clone(), error))?;
        }
        let scoreboard = Scoreboard::new()
            .map_err(|error| StartError::System("share memory with workers", error))?;
        let replay = replay_cache_for(config, None)
            .map_err(|error| StartError::System("share memory with workers", error))?;
        let rates = rate_table_for(config, None)
            .map_err(|error| StartError::System("share memory with workers", error))?;
        let started = clock::monotonic();
        for warning in &pinned.loaded.warnings {
            tracing::warn!("{warning}");
        }
        tracing::info!(
            pid = ProcessId::own().number(),
            config = %pinned.loaded.file().as_deref().unwrap_or("none"),
            control = %socket_of(config).display(),
            workers = policy.workers,
            version = env!("CARGO_PKG_VERSION"),
            "starting"
        );
        Ok(Self {
            supervisor: Supervisor::new(policy, seed()),
            started,
            loader: LoaderBox(loader),
            generations: BTreeMap::from([(Generation(1), pinned)]),
            crew: Crew::new(SEATS),
            listeners,
            admin,
            control,
            signals,
            scoreboard,
            replay,
            rates,
            deaths: Deaths::new(),
            questions: Questions::default(),
            hangs: HangWatch::default(),
            memory: MemoryWatch::default(),
            ledger: Ledger::default(),
            happenings: Happenings::default(),
            orders: Orders::new(),
            systemd: systemd_of(manager),
            processors,
            last_reload: None,
            traceback: None,
            stop_callers: Vec::new(),
            pid_file,
            exit: None,
            upgrade: Upgrade::new(program),
            file_watch: FileWatch::default(),
            agent: Agent::new(Vec::new()),
            templates: Templates::default(),
        })
    }
}

/// The replay cache of a master that is about to fork workers with this configuration: the one that there is, or the first.
pub(super) fn replay_cache_for(
    config: &Config,
    existing: Option<&Arc<ReplayCache>>,
) -> io::Result<Option<Arc<ReplayCache>>> {
    match existing {
        Some(existing) => Ok(Some(Arc::clone(existing))),
        None if config.auth.has_binding(Binding::Dpop) => ReplayCache::new().map(Some),
        None => Ok(None),
    }
}

/// The same of the table of rates.
pub(super) fn rate_table_for(
    config: &Config,
    existing: Option<&Arc<RateTable>>,
) -> io::Result<Option<Arc<RateTable>>> {
    match existing {
        Some(existing) => Ok(Some(Arc::clone(existing))),
        None if config.auth.has_rate() => RateTable::new().map(Some),
        None => Ok(None),
    }
}

/// What systemd is told and wants to be told from now on.
pub(super) fn systemd_of(manager: &ServiceManager) -> Systemd {
    Systemd {
        notifier: Notifier::new(manager.notify_socket.as_deref()),
        watchdog: systemd::watchdog_interval(
            manager.watchdog_usec.as_deref(),
            manager.watchdog_pid.as_deref(),
        ),
        next_sign_of_life: Duration::ZERO,
    }
}

/// A link is not followed: in a folder that others may write to it could name any file.
fn write_pid_file(path: &Path) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o644)
        .custom_flags(libc::O_NOFOLLOW);
    writeln!(options.open(path)?, "{}", ProcessId::own())
}

/// Tries again for a moment what fails because a master that was killed has left workers which are about to go.
fn patiently<T, E>(
    mut attempt: impl FnMut() -> Result<T, E>,
    may_pass: impl Fn(&E) -> bool,
) -> Result<T, E> {
    let give_up = clock::monotonic() + ORPHANS_PATIENCE;
    loop {
        match attempt() {
            Err(error) if may_pass(&error) && clock::monotonic() < give_up => {
                let _nothing_to_wait_for = poll::wait(&[], Some(Duration::from_millis(20)));
            }
            result => return result,
        }
    }
}

/// Servers that fail together shall not come back together.
fn seed() -> u64 {
    let now = u64::try_from(clock::unix().as_nanos()).unwrap_or(u64::MAX);
    now ^ u64::from(ProcessId::own().number()).rotate_left(32)
}

/// Who workers shall be.
///
/// # Errors
/// Names that do not exist, and what only root can do.
pub fn identity_of(process: &Process) -> Result<Identity, IdentityError> {
    Identity::find(
        process.user.as_deref(),
        process.group.as_deref(),
        process.groups.as_deref(),
        process.umask,
    )
}

/// Looks up what a generation names in the system, and says what the supervisor must know of it.
pub(super) fn pin(
    mut loaded: Loaded,
    processors: Processors,
) -> Result<(Pinned, Policy), IdentityError> {
    let config = &loaded.config;
    let identity = identity_of(&config.process)?;
    let warning = identity.warning().map(str::to_owned);
    let policy = Policy {
        workers: worker_count(config.workers.count, processors),
        strategy: match config.reload.strategy {
            Strategy::BlueGreen => supervisor::Strategy::BlueGreen,
            Strategy::Rolling => supervisor::Strategy::Rolling {
                max_surge: config.reload.max_surge,
                max_unavailable: config.reload.max_unavailable,
            },
        },
        boot_timeout: config.workers.boot_timeout,
        graceful_timeout: config.workers.graceful_timeout,
        drain_delay: config.workers.drain_delay,
        backoff_initial: config.workers.backoff_initial,
        backoff_max: config.workers.backoff_max,
        backoff_reset: config.workers.backoff_reset,
        lifetime: config.workers.max_lifetime.map(|at_least| Lifetime {
            at_least,
            jitter_max: config.workers.max_lifetime_jitter,
        }),
        wants_stand_in: super::development::is_written(config),
    };
    loaded.warnings.extend(warning);
    let feeds = loaded.config.feeds().len();
    let pinned = Pinned {
        feeds: (0..feeds).map(|_| FeedState::default()).collect(),
        loaded,
        identity,
        stands_in: None,
        failure: None,
    };
    Ok((pinned, policy))
}

/// The number that `workers.count` stands for: `auto` is a worker for each processor that may be used.
pub(super) fn worker_count(count: WorkerCount, processors: Processors) -> u16 {
    match count {
        WorkerCount::Fixed(count) => count,
        WorkerCount::Auto => {
            // A part of a processor is worth a worker.
            let within_quota = |count: u16| {
                processors
                    .quota
                    .is_none_or(|quota| f64::from(count) <= quota.ceil())
            };
            (1..=Scale::MAX)
                .take_while(|count| usize::from(*count) <= processors.affinity)
                .take_while(|count| within_quota(*count))
                .last()
                .unwrap_or(1)
        }
    }
}

/// What belongs to the master itself stays as it was at the start; a reload that would change it is refused, by name.
pub(super) fn assert_reloadable(before: &Config, after: &Config) -> Result<(), String> {
    let names = fixed_keys_that_differ(before, after);
    if names.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    Err(format!(
        "{} cannot change by a reload; restart to change it",
        names.join(", ")
    ))
}

/// The keys that only a restart changes, and that differ.
pub(super) fn fixed_keys_that_differ(before: &Config, after: &Config) -> Vec<&'static str> {
    let (old, new) = (&before.process, &after.process);
    let server = (&before.server, &after.server);
    let changed = [
        (
            "process.control_socket",
            socket_of(before) != socket_of(after),
        ),
        ("process.pid_file", old.pid_file != new.pid_file),
        ("server.balance", server.0.balance != server.1.balance),
        ("server.backlog", server.0.backlog != server.1.backlog),
        ("server.unix_mode", server.0.unix_mode != server.1.unix_mode),
        (
            "server.unix_owner",
            server.0.unix_owner != server.1.unix_owner,
        ),
        (
            "server.unix_group",
            server.0.unix_group != server.1.unix_group,
        ),
    ];
    let changed = changed.into_iter().filter(|(_, is)| *is);
    changed.map(|(name, _)| name).collect()
}

/// Where commands reach the master of this configuration.
pub(super) fn socket_of(config: &Config) -> PathBuf {
    control_socket_path(&config.file, config.process.control_socket.as_deref())
}

/// Where commands reach the master of the configuration `file`: `process.control_socket`, else a place in the runtime
/// directory, so that a command with the same `-c` finds it. `/etc/destrier/web.toml` is reached at `web.sock` there;
/// for a file elsewhere a digest of its folder is added, for every checkout may have a `web.toml`.
pub fn control_socket_path(file: &Path, configured: Option<&Path>) -> PathBuf {
    if let Some(path) = configured {
        return path.to_owned();
    }
    let folder = if identity::effective_user() == 0 {
        PathBuf::from("/run/destrier")
    } else if let Some(folder) = std::env::var_os("XDG_RUNTIME_DIR") {
        Path::new(&folder).join("destrier")
    } else {
        PathBuf::from(format!("/tmp/destrier-{}", identity::effective_user()))
    };
    folder.join(control_socket_name(file))
}

fn control_socket_name(file: &Path) -> OsString {
    // A link is not followed: it may lead to another release by the time a command asks.
    let is_plain = !file.components().any(|part| part == Component::ParentDir);
    let file = if is_plain {
        path::absolute(file)
    } else {
        fs::canonicalize(file)
    }
    .unwrap_or_else(|_| file.to_owned());
    let stem = file.file_stem().unwrap_or_else(|| OsStr::new("destrier"));
    let mut name = stem.to_owned();
    if let Some(folder) = file.parent()
        && folder != Path::new("/etc/destrier")
    {
        let digest = digest(&SHA256, folder.as_os_str().as_bytes());
        let start = digest.as_ref().first_chunk().copied().unwrap_or_default();
        name.push(format!("-{:08x}", u32::from_be_bytes(start)));
    }
    name.push(".sock");
    name
}

/// Makes the folder of a socket; one that is there already must be ours or root's, for whoever owns it owns the socket.
pub(super) fn make_folder(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(folder)?;
    let owner = fs::metadata(folder)?.uid();
    if owner == 0 || owner == identity::effective_user() {
        return Ok(());
    }
    let message = format!("`{}` belongs to user {owner}", folder.display());
    Err(io::Error::new(io::ErrorKind::PermissionDenied, message))
}

/// A folder in which others could put their socket in the place of ours is none for the control socket: commands would be
/// told what they like. With the sticky bit only the owner of a socket can.
pub(super) fn assert_private(folder: &Path) -> io::Result<()> {
    let mode = fs::metadata(folder)?.mode();
    if mode & 0o022 == 0 || mode & 0o1000 != 0 {
        return Ok(());
    }
    let message = format!(
        "others may write to `{}` (mode {:04o}) and put a socket of theirs in its place; chmod go-w, or name another `process.control_socket`",
        folder.display(),
        mode & 0o7777
    );
    Err(io::Error::new(io::ErrorKind::PermissionDenied, message))
}

#[cfg(test)]
mod tests {
    use super::{control_socket_name, worker_count};
    use crate::config::WorkerCount;
    use crate::sys::machine::Processors;

    #[test]
    fn two_files_of_one_name_have_two_control_sockets() {
        let name = |file: &str| control_socket_name(file.as_ref());
        assert_eq!(name("/etc/destrier/web.toml"), "web.sock");
        assert_ne!(name("/srv/one/web.toml"), name("/srv/two/web.toml"));
        assert_eq!(name("/srv/./one/web.toml"), name("/srv/one/web.toml"));
        let other = name("/srv/one/web.toml").into_string().expect("ASCII");
        assert!(other.starts_with("web-") && other.len() == "web-01234567.sock".len());
    }

    #[test]
    fn the_control_socket_of_a_file_behind_a_link_stays_when_the_link_moves() {
        let folder = tempfile::tempdir().expect("a folder");
        let link = folder.path().join("current");
        let names: Vec<_> = ["1", "2"]
            .into_iter()
            .map(|release| {
                let release = folder.path().join(release);
                std::fs::create_dir(&release).expect("a folder");
                std::fs::write(release.join("web.toml"), "").expect("a file");
                let _none_yet = std::fs::remove_file(&link);
                std::os::unix::fs::symlink(&release, &link).expect("a link");
                control_socket_name(&link.join("web.toml"))
            })
            .collect();
        assert_eq!(names[0], names[1]);
    }

    #[test]
    fn auto_is_a_worker_for_each_processor_that_may_be_used() {
        let auto =
            |affinity, quota| worker_count(WorkerCount::Auto, Processors { affinity, quota });
        assert_eq!(auto(4, None), 4);
        assert_eq!(auto(4, Some(1.5)), 2);
        assert_eq!(auto(4, Some(0.2)), 1);
        assert_eq!(auto(2, Some(16.0)), 2);
        assert_eq!(auto(2000, None), 512);
    }
}

//! `destrier run`: the master in the foreground, until it is told to stop.

use std::env;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use super::{CommandError, ExitCode};
use crate::app::App;
use crate::auth::Guard;
use crate::cli::ConfigArgs;
use crate::config::{self, Bind, Sources};
use crate::logging;
use crate::master::{
    Assignment, Ending, Inherited, ListenError, Loaded, Master, Serve, ServiceManager,
    SocketPathError, StartError,
};
use crate::tokens::Signer;
use crate::worker::{self, Task};

/// Serves `app` as the configuration says.
pub(super) fn run<A: App>(args: &ConfigArgs, app: A) -> Result<ExitCode, CommandError> {
    let manager = service_manager();
    let inherited = Inherited::take(&manager);
    let sources = super::sources(args)?;
    let app = Rc::new(app);
    let loaded = read(&sources, &app)?;
    logging::start(&loaded.config.log).map_err(|error| {
        CommandError::usage(match &loaded.config.log.file {
            Some(path) => format!("cannot open `log.file` `{}`: {error}", path.display()),
            None => format!("cannot log to standard error: {error}"),
        })
    })?;
    let loader = move || read(&sources, &app).map_err(|error| error.message);
    let master = Master::start(loaded, Box::new(loader), &manager, inherited)
        .map_err(|error| cannot_start(&error))?;
    match master.run() {
        Ending::Stopped => Ok(ExitCode::Success),
        // The master's last log line; a terminal shall not see it twice.
        Ending::BootFailed => Ok(ExitCode::Boot),
    }
}

/// A service manager starts again what failed, but not what only another configuration can help.
fn cannot_start(error: &StartError) -> CommandError {
    let message = match hint(error) {
        Some(hint) => format!("{error}\nhint: {hint}"),
        None => error.to_string(),
    };
    match error {
        StartError::Identity(_)
        | StartError::PidFile(..)
        | StartError::Listen(ListenError::Owner(..)) => CommandError::usage(message),
        StartError::Listen(_) | StartError::Control(_) | StartError::System(..) => {
            CommandError::failure(message)
        }
    }
}

fn hint(error: &StartError) -> Option<&'static str> {
    match error {
        StartError::Control(SocketPathError::InUse { .. }) => {
            Some("a second server beside it needs a `process.control_socket` of its own")
        }
        StartError::Listen(ListenError::Open(Bind::Tcp(_), error))
            if error.kind() == io::ErrorKind::PermissionDenied =>
        {
            Some(
                "ports below 1024 need root, CAP_NET_BIND_SERVICE, or a socket that systemd passes",
            )
        }
        StartError::Control(_)
        | StartError::Listen(_)
        | StartError::Identity(_)
        | StartError::PidFile(..)
        | StartError::System(..) => None,
    }
}

/// One generation: the configuration, the keys it names, and what its workers shall do with them.
fn read<A: App>(sources: &Sources, app: &Rc<A>) -> Result<Loaded, CommandError> {
    let config::Loaded {
        config, warnings, ..
    } = config::read(sources)?;
    let guard = super::load_guard(&config)?;
    let mut warnings: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    warnings.extend(guard.warnings().iter().cloned());
    let signer = super::load_signer(&config, &guard)?.map(Arc::new);
    let config = Arc::new(config);
    let serve = serve(Arc::clone(&config), Arc::new(guard), signer, Rc::clone(app));
    Ok(Loaded {
        config,
        serve,
        warnings,
    })
}

fn serve<A: App>(
    config: Arc<config::Config>,
    guard: Arc<Guard>,
    signer: Option<Arc<Signer>>,
    app: Rc<A>,
) -> Serve {
    Rc::new(move |assignment: Assignment| {
        let Assignment {
            master,
            worker,
            slot: _,
            generation,
            channel,
            listeners,
            seat,
            identity,
        } = assignment;
        let task = Task {
            master,
            worker,
            generation,
            config: Arc::clone(&config),
            guard: Arc::clone(&guard),
            signer: signer.clone(),
            channel,
            listeners,
            seat,
            identity,
        };
        worker::run(task, app.as_ref()).into()
    })
}

fn service_manager() -> ServiceManager {
    let text = |name| env::var(name).ok();
    ServiceManager {
        notify_socket: env::var_os("NOTIFY_SOCKET"),
        listen_pid: text("LISTEN_PID"),
        listen_fds: text("LISTEN_FDS"),
        listen_fdnames: text("LISTEN_FDNAMES"),
        watchdog_usec: text("WATCHDOG_USEC"),
        watchdog_pid: text("WATCHDOG_PID"),
    }
}
